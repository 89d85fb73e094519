"""Where values stop being finite: the first of them, by length, text and position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from freeatten_core.basics.errors import ContentError
from freeatten_core.data.selection import Text

from .scoring import Losses

__all__ = ["check_finite", "first_not_finite", "no_numbers"]

Entry = dict[str, Any]


def first_not_finite(losses: Losses, texts: Sequence[Text]) -> Entry | None:
    """The first loss that is not finite at the shortest length that has one; None if all are.

    Returns:
        `length`, `text` (its file's name), `position` (of the target in the text, from 1) and,
        over all lengths and texts, `losses`: how many are not finite.
    """
    bad = {length: ~np.isfinite(table) for length, table in sorted(losses.by_length.items())}
    for length, places in bad.items():
        if places.any():
            text, position = np.argwhere(places)[0]
            return {
                "length": length,
                "text": texts[text].name,
                "position": int(position) + 1,
                "losses": sum(int(each.sum()) for each in bad.values()),
            }
    return None


def check_finite(losses: Tensor, names: Sequence[str], length: int, start: int = 0) -> None:
    """Whether losses (texts, targets) are finite.

    Args:
        names: of the texts.
        length: tokens of the pass.
        start: the first target's index.

    Raises:
        ContentError: names the first that is not.
    """
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        text, target = bad[0].tolist()
        raise ContentError(
            f"not finite: the loss at {length:,} tokens, target {start + target + 1:,} of the text "
            f"from {names[text]}"
        )


def no_numbers(keys: Iterable[str], count: int) -> Entry:
    """Columns of `count` missing values and intervals, by their names."""
    entry: Entry = {}
    for key in keys:
        entry[key] = [None] * count
        entry[f"{key}_ci95"] = [[None, None]] * count
    return entry
