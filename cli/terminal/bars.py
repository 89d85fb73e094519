"""Progress bars on standard error, which say what is left once they know."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["TimeLeft", "progress_bar"]


class TimeLeft(TimeRemainingColumn):
    """`0:01:23 left`, and nothing before the first estimate."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.time_remaining is None:
            return Text()
        return super().render(task).append(" left")


def progress_bar(console: Console, *between: ProgressColumn) -> Progress:
    """A bar that vanishes when it is done; `between` stands between it and what is left."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), *between, TimeLeft()
    return Progress(*columns, console=console, transient=True)
