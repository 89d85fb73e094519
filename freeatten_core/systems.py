"""Rows with modifiers, next to the same checkpoint with a window: what far context is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cards import table
from .comparison import interval
from .variants import Variant
from .wording import Result, count, signed, with_half_width


def against_window(result: Result) -> dict[str, list[tuple[float, float, float]]]:
    """Loss of a row minus loss of the same checkpoint with a window, by row and length.

    Over the same tokens, paired by text, with Student-t intervals. Below 0 the row is better than
    a model that never sees further back than in training.

    Args:
        result: what `freeatten compare --json` prints, with `+window` rows among its rows.

    Returns:
        Mean and bounds at every length, for every other row of a variant that has a window row.
    """
    rows = {(row["variant"], row["checkpoint"]): row for row in result["variants"]}
    found = {}
    for (name, checkpoint), row in rows.items():
        window = rows.get((f"{Variant.parse(name).trained}+window", checkpoint))
        if window is None or row is window:
            continue
        difference = _by_text(row) - _by_text(window)
        found[name] = [interval(column) for column in difference.T]
    return found


def _by_text(row: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(row["loss_by_text"], dtype=np.float64)


def window_table(result: Result) -> str:
    """`against_window` beyond the training length, in Markdown."""
    beyond = [at for at, length in enumerate(result["lengths"]) if length > result["train_length"]]
    header = ["loss against its own window"]
    for at in beyond:
        length = result["lengths"][at]
        header.append(f"{length // result['train_length']}× ({count(length)})")
    lines = [
        [f"`{name}`", *(_cell(values[at]) for at in beyond)]
        for name, values in against_window(result).items()
    ]
    return table(header, lines)


def _cell(found: tuple[float, float, float]) -> str:
    mean, low, high = found
    return with_half_width(signed(mean), [low, high])
