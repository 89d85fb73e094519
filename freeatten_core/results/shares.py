"""Shares of questions answered right, with intervals that stay between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["wilson", "with_wilson"]

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""
BY_SEQUENCE = 1
"""Schema of recall results whose intervals were Student's over sequences: some reach above 1, and
nothing but right answers had one of no width."""


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The 95 % Wilson interval of `right` answers of `asked` questions, (low, high).

    Written out, because `scipy.stats` takes a second to import and the app shows this at its start.

    Raises:
        ValueError: nothing was asked, or more was right.
    """
    if not 0 <= right <= asked or asked == 0:
        raise ValueError(f"{right} right answers of {asked}; it must be 0 to all of 1 or more")
    share, spread = right / asked, Z**2 / asked
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / asked + spread / (4 * asked)) / (1 + spread)
    # exact where rounding would leave a bound beside 0 or 1, or beyond
    low = 0.0 if right == 0 else centre - half
    high = 1.0 if right == asked else centre + half
    return low, high


def with_wilson(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of `freeatten retrieve --task recall` with Wilson intervals, whenever it was stored.

    The number of right answers follows from the share and the questions asked: `pairs` in each of
    `samples` sequences at every length. Other results, and newer ones, are as they were.
    """
    if result.get("task") != "recall" or result["schema"] > BY_SEQUENCE:
        return dict(result)
    asked = result["samples"] * result["recall"]["pairs"]
    rows = [
        row | {"accuracy_ci95": [_interval(share, asked) for share in row["accuracy"]]}
        for row in result["variants"]
    ]
    return {**result, "variants": rows}


def _interval(share: float | None, asked: int) -> list[float | None]:
    return [None, None] if share is None else [*wilson(round(share * asked), asked)]
