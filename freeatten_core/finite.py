"""Where values stop being finite: the first of them, by length, text and position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluation import Losses, Text


def first_not_finite(losses: Losses, texts: Sequence[Text]) -> dict[str, Any] | None:
    """The first loss that is not finite at the shortest length that has one; None if all are.

    Returns:
        `length`, `text` (its name), `position` (of the target, from 1) and, over all lengths and
        texts, `losses`: how many are not finite.
    """
    return first_of(losses.by_length, [text.name for text in texts])


def first_of(
    tables: Mapping[int, NDArray[np.floating[Any]]], names: Sequence[str]
) -> dict[str, Any] | None:
    """As `first_not_finite`, of tables (texts, positions) by length."""
    bad = {length: ~np.isfinite(table) for length, table in sorted(tables.items())}
    for length, places in bad.items():
        if places.any():
            text, position = np.argwhere(places)[0]
            return {
                "length": length,
                "text": names[text],
                "position": int(position) + 1,
                "losses": sum(int(each.sum()) for each in bad.values()),
            }
    return None
