"""The knee of the loss against position: where it stops falling.

A model that uses its context predicts later tokens better, because more stands before them. The
rule: positions are cut into stretches, the first 1/64 of a text and then doublings (128, 256, …,
8,192 of 8,192); the knee is the end of the first stretch whose mean loss no later stretch lies
below by more than 0.02 nats. It is the whole length while the loss still falls at its end.

Different positions hold different text, so a knee needs many texts; its interval is that of 1,000
draws of as many texts with replacement (the bootstrap's 2.5 and 97.5 percentiles).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import MISSING, Entry, Result, count, row_names
from .intervals import resampled
from .markdown import table
from .verdicts import HARMLESS

__all__ = ["KNEE_RULE", "knee_entry", "knee_of", "knee_table", "knee_text", "stretches"]

KNEE_RULE = (
    "knee: the end of the first stretch of positions (1/64 of the length, then doublings) that no "
    f"later stretch's mean loss lies below by more than {HARMLESS} nats: from there on more "
    "context is no gain; the whole length where the loss still falls"
)

Values = NDArray[np.float64]


def stretches(bins: int) -> list[int]:
    """How many of the first bins, all as wide, each stretch ends with: 1, 2, 4, … and all."""
    ends = [1]
    while 2 * ends[-1] < bins:
        ends.append(2 * ends[-1])
    return sorted({*ends, bins})


def knee_entry(positions: Sequence[int], by_text: Values) -> dict[str, Any]:
    """The knee and its interval over texts, in tokens.

    Args:
        positions: the last position of each bin.
        by_text: mean losses, (texts, bins).

    Returns:
        `knee`, None where a loss is not finite, and `knee_ci95`, [None, None] also for one text.
    """
    ends = stretches(len(positions))
    edges = np.array([positions[end - 1] for end in ends])
    parts = np.split(by_text, ends[:-1], axis=1)
    losses = np.stack([part.mean(axis=1) for part in parts], axis=1)
    if not np.isfinite(losses).all():
        return {"knee": None, "knee_ci95": [None, None]}
    knee = int(edges[_at(losses.mean(axis=0))])
    if len(losses) < 2:
        return {"knee": knee, "knee_ci95": [None, None]}
    knees = edges[_at(losses[resampled(len(losses))].mean(axis=1))]
    low, high = np.percentile(knees, [2.5, 97.5], method="inverted_cdf")
    return {"knee": knee, "knee_ci95": [int(low), int(high)]}


def knee_text(result: Result, row: Entry) -> str:
    """`512 (512–1,024)`: a row's knee and its interval, where there is one."""
    found = knee_of(result, row)
    if found["knee"] is None:
        return MISSING
    low, high = found["knee_ci95"]
    text = count(found["knee"])
    return text if low is None else f"{text} ({count(low)}–{count(high)})"


def knee_of(result: Result, row: Entry) -> Entry:
    """A row's `knee` and `knee_ci95`; of a result from before they were kept from its means, so
    without an interval."""
    if "knee" in row:
        return row
    values = row.get("loss_by_position") or [None] * len(result["positions"])
    return knee_entry(result["positions"], np.array([values], dtype=np.float64))


def knee_table(result: Result) -> str:
    """Of every row, in Markdown."""
    rows = result["variants"]
    return table(
        ["", f"knee, tokens of {count(max(result['lengths']))}"],
        [
            [f"`{name}`", knee_text(result, row)]
            for name, row in zip(row_names(rows), rows, strict=True)
        ],
    )


def _at(losses: Values) -> NDArray[np.int64]:
    """Index of the knee among the stretches, the last axis."""
    later = np.minimum.accumulate(losses[..., ::-1], axis=-1)[..., ::-1]
    found: NDArray[np.int64] = (losses <= later + HARMLESS).argmax(axis=-1)
    return found
