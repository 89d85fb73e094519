"""How much of what a longer training would gain from more context a row gains without it.

The ceiling is a model that was trained at a longer length, best the row's own variant. Both gains
start from the row's loss at 1×, its training length: the row's ends at its own loss at a longer
length, the ceiling's at what the ceiling has there, on the same tokens. A share of 1 is as low a
loss as if the row had been trained there, 0 is none of it. It stands beside S and W and does not
replace them: a window, too, gains from fewer beginnings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import Entry, Interval, Result, count, percent_range
from .intervals import resampled

__all__ = [
    "CEILING_RULE",
    "ceiling_entry",
    "ceiling_text",
    "share_lengths",
    "share_of",
    "share_text",
    "with_own_shares",
    "with_shares",
]

CEILING_RULE = (
    "share of the ceiling: how far the row's loss comes down from that at 1×, by how far it would "
    "if it ended at the loss of the ceiling, a model that was trained at a longer length; none "
    "beyond that length, and where the ceiling is no lower than the row at 1×"
)

Values = NDArray[np.float64]


def with_shares(result: Result, ceiling: str) -> dict[str, Any]:
    """A result whose rows have `ceiling_share` and `ceiling_share_ci95`, and which names its
    `ceiling`.

    Args:
        ceiling: the checkpoint of the row that is the ceiling; it is measured with the others.
    """
    own = next(row for row in result["variants"] if row["checkpoint"] == ceiling)
    facts = {key: own[key] for key in ("variant", "checkpoint", "train_length")}
    rows = [
        row if row is own else {**row, **ceiling_entry(row, own, result["lengths"])}
        for row in result["variants"]
    ]
    return {**result, "ceiling": facts, "variants": rows}


def ceiling_entry(row: Entry, ceiling: Entry, lengths: Sequence[int]) -> dict[str, Any]:
    """The share at every length, and its interval over texts where there are losses of each.

    Args:
        row: an entry of a result's `variants`.
        ceiling: another, of the same texts.
        lengths: tokens, rising; the row's training length among them.

    Returns:
        `ceiling_share`, None up to 1×, beyond the ceiling's training length, where its loss is
        no lower than the row's at 1×, and where a loss is missing; `ceiling_share_ci95`, the 2.5
        and 97.5 percentiles of 1,000 draws of the texts, [None, None] where there is none.
    """
    start, nothing = lengths.index(row["train_length"]), [None, None]
    shares: list[float | None] = [None] * len(lengths)
    bounds: list[list[float | None]] = [list(nothing) for _ in lengths]
    for index, length in enumerate(lengths):
        if not row["train_length"] < length <= ceiling["train_length"]:
            continue
        shares[index] = share_of(row["loss"][start], row["loss"][index], ceiling["loss"][index])
        texts = [each.get("loss_by_text") or [] for each in (row, ceiling)]
        if shares[index] is not None and len(texts[0]) == len(texts[1]) > 1:
            own, its = (np.array(each, float) for each in texts)
            bounds[index] = _bounds(own[:, start] - own[:, index], own[:, start] - its[:, index])
    return {"ceiling_share": shares, "ceiling_share_ci95": bounds}


def share_of(first: float | None, last: float | None, ceiling: float | None) -> float | None:
    """Of losses: the row's at 1× and at a length, the ceiling's there."""
    if first is None or last is None or ceiling is None or not first > ceiling:
        return None
    return (first - last) / (first - ceiling)


def _bounds(gain: Values, ceiling: Values) -> list[float | None]:
    """Of the gains of texts, the row's by the ceiling's; none where that is not above 0 in every
    draw."""
    draws = resampled(len(gain))
    below = ceiling[draws].mean(axis=1)
    if not np.isfinite(gain).all() or not (below > 0).all():
        return [None, None]
    low, high = np.percentile(gain[draws].mean(axis=1) / below, [2.5, 97.5])
    return [float(low), float(high)]


def with_own_shares(result: Result, ceilings: Mapping[str, Entry]) -> dict[str, Any]:
    """The same with shares of rows whose own variant was trained at a longer length, too.

    Args:
        ceilings: rows that were trained there, by their variants, with their `train_length`, each
            its own; scored at some of the lengths.

    Returns:
        A result whose `ceiling` is none of its rows, and has the `lengths` that shares are of and
        the longest `train_length`; a row that has one tells its own as `ceiling_train_length`.
    """
    lengths, rows = result["lengths"], []
    for row in result["variants"]:
        if (above := ceilings.get(row["variant"])) is None:
            rows.append(row)
            continue
        trained = above["train_length"]
        losses = dict(zip(above["lengths"], above["loss"], strict=True))
        whole = {"loss": list(map(losses.get, lengths)), "train_length": trained}
        own = ceiling_entry(row, whole, lengths)
        rows.append({**row, **own, "ceiling_train_length": trained})
    longest = max(above["train_length"] for above in ceilings.values())
    facts = {"variant": None, "checkpoint": None, "train_length": longest}
    scored = {
        length
        for above in ceilings.values()
        for length in above["lengths"]
        if length <= above["train_length"]
    }
    shown = [length for length in lengths if length in scored]
    return {**result, "ceiling": {**facts, "lengths": shown}, "variants": rows}


def share_lengths(result: Result) -> list[int]:
    """The lengths that a row can have a share at."""
    above = result["ceiling"]
    return [
        length
        for length in above.get("lengths", result["lengths"])
        if result["train_length"] < length <= above["train_length"]
    ]


def ceiling_text(result: Result) -> str:
    """What rows are set beside: `long, softmax trained at 4,096 tokens`, or their own variant."""
    above = result["ceiling"]
    if above["checkpoint"] is not None:
        name = f"{above['checkpoint']}, {above['variant']}"
        return f"{name} trained at {count(above['train_length'])} tokens"
    own = {row["ceiling_train_length"] for row in result["variants"] if "ceiling_share" in row}
    lengths = " or ".join(map(count, sorted(own or {above["train_length"]})))
    return f"the same variant trained at {lengths} tokens"


def share_text(value: float | None, interval: Interval) -> str:
    """`43.0 (38–48)`, in %."""
    return percent_range(value, interval).replace("-", "−")
