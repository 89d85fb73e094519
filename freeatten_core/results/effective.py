"""The effective length: up to where a score is nearly what it is at short lengths.

As NoLiMa (arXiv 2502.05167) has it: at least 0.85 of the best score at short lengths, which here
are those up to the training length, or of a model of others the restart. RULER's fixed score of
85.6 is that of a large model.
"""

from __future__ import annotations

from collections.abc import Sequence

from .format import MISSING, Entry, Result, count, restart_length

__all__ = ["EFFECTIVE_RULE", "effective_length", "effective_text"]

SHARE = 0.85
EFFECTIVE_RULE = (
    f"effective length: up to where the score stays at least {SHARE} of its best within the "
    "training length"
)


def effective_length(
    lengths: Sequence[int], scores: Sequence[float | None], train_length: int
) -> int | None:
    """The longest of the lengths up to which every score is at least 0.85 of the base.

    Args:
        lengths: ascending.
        scores: at each of them; higher is better.
        train_length: the base is the best score up to it, or that of the shortest length.

    Returns:
        None where the base is not above 0.
    """
    pairs = list(zip(lengths, [-1.0 if s is None else s for s in scores], strict=True))
    base = max(score for length, score in pairs if length <= max(train_length, lengths[0]))
    kept = None
    for length, score in pairs:
        if base > 0 and score >= SHARE * base:
            kept = length
        elif length > train_length:
            break
    return kept


def effective_text(result: Result, row: Entry) -> str:
    """`512`; `≥ 8,192` where the longest length measured still reaches it."""
    score = "gain" if result["task"] == "copy" else "accuracy"
    found = effective_length(result["lengths"], row[score], restart_length(row))
    if found is None:
        return MISSING
    return f"≥ {count(found)}" if found == max(result["lengths"]) else count(found)
