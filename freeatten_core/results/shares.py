"""Shares of questions answered right, with intervals that stay between 0 and 1."""

from __future__ import annotations

import math

__all__ = ["wilson"]

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


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
