"""The effective length: up to where a score is nearly what it is at short lengths.

As NoLiMa (arXiv 2502.05167) has it: at least 0.85 of the best score at short lengths, which here
are those up to the training length, or of a model of others the restart. RULER's fixed score of
85.6 is that of a large model.
"""

from __future__ import annotations

from collections.abc import Sequence

from .format import MISSING, Entry, Interval, Result, count, restart_length

__all__ = ["EFFECTIVE_RULE", "effective_length", "effective_text"]

SHARE = 0.85
EFFECTIVE_RULE = (
    f"effective length: up to where the score stays at least {SHARE} of its best within the "
    "training length; none where that best is no better than a guess"
)


def effective_length(
    lengths: Sequence[int],
    scores: Sequence[float | None],
    train_length: int,
    *,
    chance: float = 0.0,
    intervals: Sequence[Interval] | None = None,
) -> int | None:
    """The longest of the lengths up to which every score is at least 0.85 of the base.

    Args:
        lengths: ascending.
        scores: at each of them; higher is better.
        train_length: the base is the best score up to it, or that of the shortest length.
        chance: the score of a guess.
        intervals: of the scores, where a guess can be above `chance` by luck.

    Returns:
        None where a guess is as good: where it reaches 0.85 of the base, which it would then keep
        at any length, or is not below the base's interval.
    """
    found = [-1.0 if score is None else score for score in scores]
    short = [at for at, length in enumerate(lengths) if length <= max(train_length, lengths[0])]
    best = max(short, key=found.__getitem__)
    least = SHARE * found[best]
    interval = None if intervals is None else intervals[best]
    low = None if interval is None else interval[0]
    if least <= chance or (low is not None and low <= chance):
        return None
    kept = None
    for length, score in zip(lengths, found, strict=True):
        if score >= least:
            kept = length
        elif length > train_length:
            break
    return kept


def effective_text(result: Result, row: Entry) -> str:
    """`512`; `≥ 8,192` where the longest length measured still reaches it."""
    lengths, trained = result["lengths"], restart_length(row)
    if result["task"] == "copy":
        found = effective_length(lengths, row["gain"], trained)
    else:
        found = effective_length(
            lengths,
            row["accuracy"],
            trained,
            chance=result["chance"],
            intervals=row["accuracy_ci95"],
        )
    if found is None:
        return MISSING
    return f"≥ {count(found)}" if found == max(lengths) else count(found)
