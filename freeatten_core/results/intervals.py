"""Intervals over texts: Student's, and draws for what is no mean."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = ["interval", "intervals", "resampled"]

DRAWS = 1_000


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and Student-t 95 % interval over texts; no interval (NaN) from one text."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def intervals(table: NDArray[np.float64]) -> tuple[list[float], list[list[float]]]:
    """Means and intervals of the columns of (texts, lengths)."""
    summed = [interval(column) for column in table.T]
    return [mean for mean, _, _ in summed], [[low, high] for _, low, high in summed]


def resampled(count: int) -> NDArray[np.int64]:
    """As many of `count` texts drawn with replacement, (1,000, count) indices, always the same.

    Of a number of each draw, the 2.5 and 97.5 percentiles are its interval (the bootstrap's).
    """
    return np.random.default_rng(0).integers(0, count, (DRAWS, count))
