"""What Δ, S and W of a row say together, and the same for results of before S and W.

At the longest length, over the last half of each text and paired by text: Δ is the loss minus that
of the same model restarted, S minus that of the same model sliding (every token has ¾L to L of
context), W minus that of the row's checkpoint with a window of L in every layer. A window is the
cheap trick that use of a longer context has to beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .format import CONTROLS, restart_length
from .heads import slim_heads
from .intervals import interval

__all__ = [
    "HARMLESS",
    "SCHEMA",
    "as_stored",
    "control",
    "judged",
    "judged_at",
    "upgraded",
    "verdict",
    "without_texts",
]

SCHEMA = 2
"""Of `freeatten compare --json`; results of schema 1 have no S and W."""
HARMLESS = 0.02
"""Nats per token: an interval of Δ inside ± this is harmless, of S or W no difference."""
SAME_RESTART = 1e-4
"""Nats per token: restarted losses closer than this are of the same model."""

BY_TEXT = (
    "loss_by_text",
    "delta_by_text",
    "sliding_delta_by_text",
    "window_delta_by_text",
    "gain_by_sample",
    "field_by_text",
)
"""What is left out of results that are stored or joined: the numbers of every single text."""

Verdict = Literal["uses", "harmless", "hurts", "no better", "worse", "not controlled", "unclear"]
Bounds = tuple[float, float, float]
"""A mean and its interval."""


def verdict(
    lengths: Sequence[int],
    delta: Sequence[Bounds],
    trained: int,
    sliding: Bounds | None,
    window: Bounds | None,
) -> tuple[Verdict, int | None]:
    """What a row did at the longest length, and from which length on it hurts.

    Args:
        lengths: tokens, rising.
        delta: Δ at every length.
        trained: the training length L.
        sliding: S, None where it was not measured.
        window: W, None where the row has none.

    Returns:
        The first that fits: `uses` (Δ, S and W below 0, the weakest of them not wholly inside
        ±0.02), `harmless` (Δ inside ±0.02), `hurts` (Δ above 0), `no better` than a window (Δ
        below 0), or `worse` than one where S or W is above 0 and not inside ±0.02, `not
        controlled` (Δ below 0, and S, which could forbid `uses`, not measured), `unclear`.
    """
    last = delta[-1]
    if lengths[-1] <= trained or not _finite(last):
        return "unclear", None
    controls = [each for each in (sliding, window) if each is not None]
    beaten = all(each[2] < 0 for each in (last, *controls))
    if sliding and beaten and not _inside(max([last, *controls])):
        return "uses", None
    if _inside(last):
        return "harmless", None
    if last[1] > 0:
        return "hurts", _hurts_from(lengths, delta, trained)
    if last[2] >= 0 or not all(map(_finite, controls)):
        return "unclear", None
    return _without_use(controls, sliding is not None or not beaten), None


def _without_use(controls: Sequence[Bounds], decided: bool) -> Verdict:
    """Of a row whose Δ is below 0."""
    if any(low > 0 and high > HARMLESS for _, low, high in controls):
        return "worse"
    return "no better" if decided else "not controlled"


def _finite(bounds: Bounds) -> bool:
    return all(map(math.isfinite, bounds))


def _inside(bounds: Bounds) -> bool:
    return bounds[1] >= -HARMLESS and bounds[2] <= HARMLESS


def _hurts_from(lengths: Sequence[int], delta: Sequence[Bounds], trained: int) -> int:
    hurts_from = lengths[-1]
    for length, (_, low, _) in zip(reversed(lengths), reversed(delta), strict=True):
        if length <= trained or not low > 0:
            break
        hurts_from = length
    return hurts_from


def judged(row: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    """An entry of a result's `variants` with the verdict that its numbers give."""
    delta = [
        _bounds(mean, pair) for mean, pair in zip(row["delta"], row["delta_ci95"], strict=True)
    ]
    controls = [
        None
        if row.get(f"{name}_delta") is None
        else _bounds(row[f"{name}_delta"], row[f"{name}_delta_ci95"])
        for name in CONTROLS.values()
    ]
    says, hurts_from = verdict(lengths, delta, restart_length(row), *controls)
    return {**row, "verdict": says, "hurts_from": hurts_from}


def judged_at(row: Mapping[str, Any], lengths: Sequence[int], length: int) -> dict[str, Any]:
    """What an entry says at one of the lengths: Δ, S and W there, and the verdict.

    Args:
        row: with S and W of that length.
    """
    shorter = lengths.index(length) + 1
    kept = {key: row[key][:shorter] for key in ("delta", "delta_ci95")}
    found = judged({**row, **kept}, lengths[:shorter])
    keys = (
        *("delta", "delta_ci95", "sliding_delta", "sliding_delta_ci95", "sliding_delta_by_text"),
        *("window_delta", "window_delta_ci95", "window_delta_by_text", "verdict", "hurts_from"),
    )
    return {"length": length, **{key: found[key] for key in keys}}


def _bounds(mean: float | None, pair: Sequence[float | None]) -> Bounds:
    low, high = pair
    return _number(mean), _number(low), _number(high)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def control(name: str, by_text: NDArray[np.float64] | None) -> dict[str, Any]:
    """S (`sliding`) or W (`window`) as a row holds it: mean, interval and every text's value.

    Args:
        by_text: nats per token, (texts,); None where the row has no such control.
    """
    key = f"{name}_delta"
    if by_text is None:
        return {key: None, f"{key}_ci95": None, f"{key}_by_text": None}
    mean, *bounds = interval(by_text)
    return {key: mean, f"{key}_ci95": bounds, f"{key}_by_text": by_text.round(5).tolist()}


def upgraded(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of schema 1 as one of schema 2; one of schema 2 as it is.

    Where a row and the row of the same checkpoint with a window share their restart, W is the
    difference of their Δ. S was not measured, and without it no row is said to use its context.
    """
    if result["schema"] >= SCHEMA:
        return dict(result)
    rows = []
    for row in result["variants"]:
        found = _window_from_rows(row, result)
        full = {**control("sliding", None), **control("window", found), **row}
        rows.append(judged(full, result["lengths"]))
    return {**result, "schema": SCHEMA, "variants": rows}


def _window_from_rows(
    row: Mapping[str, Any], result: Mapping[str, Any]
) -> NDArray[np.float64] | None:
    """W of each text; None where no row with a window has the same restart."""
    for other in result["variants"]:
        if (
            other["variant"].partition("+")[2] == "window"
            and other["checkpoint"] == row["checkpoint"]
            and max(result["lengths"]) > row["train_length"]
            and None not in (row["restart_loss"], other["restart_loss"])
            and abs(row["restart_loss"] - other["restart_loss"]) < SAME_RESTART
        ):
            mine, its = (np.array(each["delta_by_text"], float)[:, -1] for each in (row, other))
            return np.asarray(mine - its, dtype=np.float64)
    return None


def as_stored(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of rows without what nothing reads of a stored one: the numbers of single texts, and
    most of those of single heads.

    Of a comparison of schema 1 all are kept: its W is made of single texts.
    """
    if "control" in result and result["schema"] < SCHEMA:
        return dict(result)
    return {**result, "variants": [slim_heads(without_texts(row)) for row in result["variants"]]}


def without_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a result's `variants` without the numbers of single texts."""
    return {
        key: without_texts(value) if isinstance(value, Mapping) else value
        for key, value in row.items()
        if key not in BY_TEXT
    }
