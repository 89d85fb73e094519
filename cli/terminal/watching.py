"""Progress on standard error while rows are measured: a bar, and each row so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from freeatten_core.basics.progress import Watch

__all__ = ["watched"]

PROVISIONAL_SECONDS = 3.0
"""Between two lines of a row that is not done."""

Line = Callable[[Mapping[str, Any], int, int], str]
"""A row, the number of texts it rests on and of all texts, in one line."""


@contextmanager
def watched(console: Console, line: Line) -> Iterator[Watch]:
    """A watch that draws a bar and prints rows as they come."""
    from rich.progress import TextColumn

    from freeatten_core.basics.progress import Watch, about

    from .bars import progress_bar

    progress = progress_bar(console, TextColumn("{task.percentage:>3.0f} %"))
    task = progress.add_task("scoring", total=None)
    shown = [0.0]

    def row(entry: Mapping[str, Any], done: int, of: int) -> None:
        progress.update(task, description=str(entry["variant"]))
        now = time.monotonic()
        if done == of or now - shown[0] > PROVISIONAL_SECONDS:
            shown[0] = now
            progress.console.print(line(entry, done, of), markup=False)

    def foreseen(seconds: float) -> None:
        progress.update(task, description=f"scoring, {about(seconds)}")

    with progress:
        yield Watch(
            total=lambda cost: progress.update(task, total=cost),
            advance=lambda cost: progress.advance(task, cost),
            row=row,
            seconds=None if console.quiet else foreseen,
        )
