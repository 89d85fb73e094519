"""What the rows of a capture look like: curves against position, tables of heads, sinks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from freeatten_core.basics.checks import check_range, check_share, check_whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.call import FIRST_ROWS
from freeatten_core.ops.row_statistics import SMALL, RowStatistics
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant, nearest

from .capture import Capture

__all__ = [
    "SINK_LENGTH",
    "SINK_THRESHOLD",
    "STATISTICS",
    "HeadRow",
    "HeadTable",
    "Name",
    "SinkRate",
    "Statistic",
    "UniformRule",
    "by_position",
    "entropy_note",
    "head_table",
    "sink_rate",
    "statistic",
    "uniform_rule_share",
]

Name = Literal[
    "entropy",
    "relative_entropy",
    "entropy_tokens",
    "effective_tokens",
    "largest",
    "first",
    "mean_distance",
    "zeros",
    "small",
    "row_sum",
]
SINK_THRESHOLD = 0.3
SINK_LENGTH = 64
"""ε and T of arXiv 2410.10781, section 3."""


@dataclass(frozen=True)
class Statistic:
    """How to show one number a row."""

    label: str
    unit: str
    """Empty for a share or a weight."""
    meaning: str


STATISTICS: Mapping[Name, Statistic] = {
    "entropy": Statistic(
        "entropy", "nats", "H = −Σ w log w: 0 for one key, log N for an even spread"
    ),
    "relative_entropy": Statistic(
        "H / log N", "", "entropy as a share of the largest possible: 1 is an even spread"
    ),
    "entropy_tokens": Statistic(
        "exp H", "tokens", "how many tokens an even spread of the same entropy would read"
    ),
    "effective_tokens": Statistic(
        "1 / Σw²", "tokens", "how many tokens a row effectively reads; large weights count"
    ),
    "largest": Statistic("largest weight", "", "the weight of the key that is read most"),
    "first": Statistic("first token", "", "the weight on the first token: a sink when high"),
    "mean_distance": Statistic(
        "mean distance", "tokens", "how far back a row reads, Σ w · (own position − j)"
    ),
    "zeros": Statistic(
        "exact zeros",
        "",
        "share of visible keys with a weight of exactly 0: re-weighting drops those whose share a, "
        "times their number N, is at most its offset O, relu those with a score of at most 0",
    ),
    "small": Statistic(
        f"below {SMALL:g}", "", f"share of visible keys with a weight below {SMALL:g}"
    ),
    "row_sum": Statistic("row sum", "", "Σ w: 1 for every `l1` variant"),
}
"""By name, in the order of a table."""


def entropy_note(capture: Capture) -> str:
    """A sentence for a caption where entropy is not of the weights themselves; else empty."""
    stages = capture.weighed_by
    if stages.needs_order:
        return (
            f"What no key takes in a row of {capture.variant}, the remainder, is counted as the "
            "weight of the row's own key."
        )
    if stages.sums_to_one:
        return ""
    verb = "do not" if isinstance(capture.variant.computes, Stages) else "may not"
    return (
        f"Rows of {capture.label} {verb} sum to 1: entropy, effective tokens and mean distance "
        "are of the row divided by its sum."
    )


def statistic(capture: Capture, name: Name, layer: int) -> Tensor:
    """One statistic of every row of a layer, (H, L) float32.

    NaN where it is undefined: `relative_entropy` of a row with one key. A row that reads nothing
    (`relu` with no positive score) has entropy 0 and 0 effective tokens.

    Raises:
        UsageError: an unknown name (the message gives the nearest), or a layer or statistics that
            were not captured.
    """
    rows = capture.statistics(layer)
    return _values(_check_name(name), rows, capture.layer(layer).visible_count(0, capture.length))


def by_position(
    capture: Capture, name: Name, layer: int, points: int = 512
) -> tuple[Tensor, Tensor]:
    """A statistic against position, averaged over equal stretches of rows.

    Returns:
        Mean position of each stretch (P,) and the means (H, P), P = min(points, L); rows where the
        statistic is undefined are left out, NaN where all are.

    Raises:
        UsageError: as `statistic`; points below 1.
    """
    values = statistic(capture, name, layer)
    length = values.shape[-1]
    count = min(check_whole("points", points, 1, None), length)
    edges = torch.arange(count + 1) * length // count
    parts = [values[:, low:high].nanmean(-1) for low, high in _pairs(edges)]
    centres = torch.tensor([(low + high - 1) / 2 for low, high in _pairs(edges)])
    return centres, torch.stack(parts, dim=-1)


@dataclass(frozen=True)
class HeadRow:
    """One head in a table."""

    layer: int
    head: int
    values: Mapping[Name, float]
    """Means over the table's rows."""
    sink: float | None
    """Mean share of the first 64 rows that the first token receives; None for shorter texts."""


@dataclass(frozen=True)
class HeadTable:
    """Heads with their means, in some order."""

    heads: Sequence[HeadRow]
    start: int
    stop: int
    """Positions of the rows averaged over."""
    note: str
    """`entropy_note`."""

    def __iter__(self) -> Iterator[HeadRow]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)

    def sorted(self, by: Name | Literal["sink"], *, descending: bool = True) -> HeadTable:
        """The same heads by one column; those without a value come last.

        Raises:
            UsageError: an unknown column.
        """
        if by != "sink":
            _check_name(by)

        def order(head: HeadRow) -> tuple[bool, float]:
            value = head.sink if by == "sink" else head.values[by]
            if value is None or math.isnan(value):
                return True, 0.0
            return False, -value if descending else value

        return replace(self, heads=sorted(self.heads, key=order))


def head_table(capture: Capture, start: int = 0, stop: int | None = None) -> HeadTable:
    """Layer × head means of every statistic over the rows start…stop, by layer and head.

    Raises:
        UsageError: a range that is empty, reversed or outside; no statistics captured.
    """
    length = capture.length
    start, stop = check_range("row", start, length if stop is None else stop, length)
    heads = []
    for layer in capture.layers:
        rows = capture.statistics(layer)
        sink = _received(rows, SINK_LENGTH) if length >= SINK_LENGTH else None
        part = rows.map(lambda tensor: tensor[:, start:stop])
        count = capture.layer(layer).visible_count(start, stop)
        means = {name: _values(name, part, count).nanmean(-1).tolist() for name in STATISTICS}
        heads += [
            HeadRow(
                layer=layer,
                head=head,
                values={name: column[head] for name, column in means.items()},
                sink=None if sink is None else float(sink[head]),
            )
            for head in range(capture.heads)
        ]
    return HeadTable(heads, start, stop, entropy_note(capture))


@dataclass(frozen=True)
class SinkRate:
    """How many heads use the first token as a sink."""

    share: float
    """Of the captured heads, those that receive more than `threshold`."""
    received: Tensor
    """Mean weight on the first token, (layers, H)."""
    layers: Sequence[int]
    threshold: float
    length: int


def sink_rate(
    capture: Capture, threshold: float = SINK_THRESHOLD, length: int = SINK_LENGTH
) -> SinkRate:
    """Attention sinks as in arXiv 2410.10781: `Sink_1^ε`, the share of heads with `α_1 > ε`.

    `α_1 = 1/T Σ_i w_i1` over the first T rows of the text. Rows that do not sum to 1 are divided
    by their sum, so that variants compare; a row that reads nothing counts as 0.

    Args:
        threshold: ε, 0.3 there.
        length: T, 64 there.

    Raises:
        UsageError: a text shorter than `length`, a threshold outside 0 to 1, no statistics.
    """
    length = check_whole("length", length, 1, capture.length)
    threshold = check_share("threshold", threshold)
    layers = list(capture.layers)
    received = torch.stack([_received(capture.statistics(layer), length) for layer in layers])
    share = float((received > threshold).float().mean())
    return SinkRate(share, received, layers, threshold, length)


@dataclass(frozen=True)
class UniformRule:
    """How often the rule for near-uniform rows (`reference.UNIFORM_TOLERANCE`, ours) fires."""

    variant: Variant
    applies: bool
    """False for variants without sharpening: there is no offset to drop."""
    fired: int
    rows: int
    """Rows with more than three keys, over all captured layers and heads."""
    by_head: Tensor
    """Share, (layers, H)."""
    layers: Sequence[int]

    @property
    def share(self) -> float:
        return self.fired / self.rows if self.rows else 0.0


def uniform_rule_share(capture: Capture) -> UniformRule:
    """How often `O = 0` although a row sees more than three keys.

    Raises:
        UsageError: no statistics captured.
    """
    layers = list(capture.layers)
    applies = capture.weighed_by.sharpen is not None
    after = []
    for layer in layers:
        seen = capture.layer(layer).visible_count(0, capture.length) > FIRST_ROWS
        after.append(capture.statistics(layer).offset.cpu()[:, seen])
    fired = [(each == 0) if applies else torch.zeros_like(each).bool() for each in after]
    by_head = torch.stack([each.float().mean(-1).nan_to_num(0) for each in fired])
    return UniformRule(
        capture.variant,
        applies,
        sum(int(each.sum()) for each in fired),
        sum(each.numel() for each in after),
        by_head,
        layers,
    )


def _values(name: Name, rows: RowStatistics, count: Tensor) -> Tensor:
    """(H, rows) of a statistic; `count` is how many keys each row sees, (rows,)."""
    match name:
        case "entropy_tokens":
            return torch.where(rows.row_sum == 0, 0.0, rows.entropy.exp())
        case "effective_tokens":
            return torch.where(rows.sum_squares == 0, 0.0, 1 / rows.sum_squares)
        case "relative_entropy":
            count = count.to(rows.entropy.device)
            relative = rows.entropy / count.to(rows.entropy.dtype).log()
            return torch.where(count == 1, torch.nan, relative)
        case _:
            values: Tensor = getattr(rows, name)
            return values


def _received(rows: RowStatistics, length: int) -> Tensor:
    """Mean share of the first `length` rows on the first token, (H,) on the CPU."""
    first, mass = rows.first[:, :length], rows.row_sum[:, :length]
    return torch.where(mass == 0, 0.0, first / mass).mean(-1).cpu()


def _check_name(name: str) -> Name:
    if not isinstance(name, str) or name not in STATISTICS:
        raise UsageError(f"no statistic {name!r}{nearest(str(name), list(get_args(Name)))}")
    return cast("Name", name)


def _pairs(edges: Tensor) -> list[tuple[int, int]]:
    return list(pairwise(edges.tolist()))
