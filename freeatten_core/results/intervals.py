"""Student-t intervals over texts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = ["interval", "intervals"]


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
