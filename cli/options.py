"""What the commands that look inside a model share: which model, which text, one pass over it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freeatten_core.analysis import Capture
    from freeatten_core.comparison import Row

HEAD_HELP = "Head, from 0."
LAYER_HELP = "Layer, from 0; by default 2, or the last of a model that has fewer."
LENGTH_HELP = "Tokens of text: 4x the training length, or a number such as 2048."


def rows_of(variants: str | None, checkpoints: Sequence[str] | None, default: str) -> list[Row]:
    """Shipped variants and given checkpoints; the default when neither is named."""
    from freeatten_core.comparison import load_rows
    from freeatten_core.variants import Variant

    names = variants if variants is not None else ("" if checkpoints else default)
    return load_rows(Variant.parse_list(names) if names else [], checkpoints or [])


def layer_of(layer: int | None, rows: Sequence[Row]) -> int:
    """The layer asked for, or the default one that every row has."""
    return min(2, *(row.checkpoint.config.layers - 1 for row in rows)) if layer is None else layer


def captures(
    rows: Sequence[Row],
    *,
    text: str,
    length: str,
    seed: int,
    device: str,
    layers: Sequence[int] | None = None,
    quiet: bool = False,
) -> tuple[list[Capture], str]:
    """One pass of every row over the same text, with progress; and the name of that text.

    Raises:
        UsageError: a text that is too short, rows with different tokenizers, too little memory.
    """
    from freeatten_core.analysis.same_text import capture_rows
    from freeatten_core.corpus import evaluation_documents
    from freeatten_core.devices import choose_device

    chosen = choose_device(device)
    tokens = tokens_of(length, rows[0].checkpoint.config.train_length)
    documents = evaluation_documents(text, sys.stdin)
    with progress(quiet) as advance:
        return capture_rows(
            rows, documents, tokens, seed=seed, device=chosen, layers=layers, advance=advance
        )


def tokens_of(text: str, train_length: int) -> int:
    """`4x` or a number in tokens, 2 or more."""
    from freeatten_core.errors import UsageError

    match = re.fullmatch(r"([0-9]{1,7})([xX×]?)", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--len is {text!r}; write 4x or a number of tokens such as 2048")
    tokens = int(match[1]) * (train_length if match[2] else 1)
    if tokens < 2:
        raise UsageError(f"--len is {text}; there must be at least 2 tokens")
    return tokens


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], Callable[[float, float], None]]]:
    """Gives a function from a name to a progress callback, each a bar on standard error.

    Args:
        quiet: draw none.
    """
    from rich.console import Console

    from .bars import progress_bar

    with progress_bar(Console(stderr=True, quiet=quiet)) as bar:

        def advance(name: str) -> Callable[[float, float], None]:
            task = bar.add_task(name, total=None)
            return lambda done, whole: bar.update(task, completed=done, total=whole)

        yield advance
