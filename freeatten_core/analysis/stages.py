"""One row from score to weight: what each stage of a variant does to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from freeatten_core.basics.checks import check_whole
from freeatten_core.ops.call import FIRST_ROWS, ScoreTerms
from freeatten_core.ops.definitions import staged
from freeatten_core.variants.stages import Stages, stages_of

from .capture import Capture, LayerCapture

__all__ = ["RowStages", "row_stages"]


@dataclass(frozen=True)
class RowStages:
    """The values of one query row after each stage, one a visible key; float64, on the CPU."""

    stages: Stages
    """As computed: with the power asked for."""
    layer: int
    head: int
    position: int
    keys: Tensor
    """Positions of the visible keys, (N,) int64, ascending; the last is the row's own."""
    tokens: Tensor
    """Their token ids, (N,)."""
    score: Tensor
    """`s`, (N,)."""
    positivity: Tensor
    """`f`, (N,); for `exp` with `l1` it is `e^(s − max s)`, so that it stays finite."""
    normalise: Tensor
    """`a`, (N,)."""
    weights: Tensor
    """`w`, (N,): `a` where nothing is sharpened."""
    offset: float
    """`O`, what the re-weighting subtracts from `N·a`; 0 where nothing is sharpened."""
    uniform: bool
    """Whether `O` is 0 by the rule for near-uniform rows."""

    @property
    def count(self) -> int:
        """`N`, the number of visible keys."""
        return len(self.keys)


def row_stages(
    capture: Capture,
    layer: int,
    head: int,
    position: int,
    *,
    power: int | Literal["own"] | None = "own",
    last: int | None = None,
) -> RowStages:
    """The stages of one row, as `freeatten_core.ops.definitions.staged.stages` has them.

    Args:
        capture: of any length; float64 from queries and keys as kept.
        layer, head: which head.
        position: the row, 0…L − 1; it sees the keys 0…position.
        power: sharpen with this `p` instead of the variant's own; None for no sharpening.
        last: let only the row's last so many keys be visible, its own included, which changes `N`
            in every stage; None for all that the layer's window leaves.

    Raises:
        UsageError: a layer, head, position, power or `last` out of range; sharpening for a variant
            whose rows are not normalised by their sum.
    """
    query, key = capture.head(layer, head)
    position = check_whole("position", position, 0, capture.length - 1)
    found = capture.layer(layer)
    visible = int(found.visible_count(position, position + 1))
    count = visible if last is None else check_whole("last", last, 1, visible)
    stages = _with_power(stages_of(capture.variant.computes), power)
    start = position - (count - 1) * found.stride
    keys = torch.arange(start, position + 1, found.stride)
    row = query[position].cpu().double()[None, None, None]
    seen = key[start : position + 1 : found.stride].cpu().double()[None, None]
    terms = _of_seen(found, head, start, position)
    result = staged.stages(row, seen, stages, softcap=found.softcap, **terms._asdict())
    offset = float(result.offset)
    sharpened = stages.sharpen is not None
    return RowStages(
        stages=stages,
        layer=layer,
        head=head,
        position=position,
        keys=keys,
        tokens=capture.tokens[keys],
        score=result.score[0, 0, 0],
        positivity=result.positivity[0, 0, 0],
        normalise=result.normalise[0, 0, 0],
        weights=result.weights[0, 0, 0],
        offset=offset,
        uniform=sharpened and offset == 0 and count > FIRST_ROWS,
    )


def _of_seen(found: LayerCapture, head: int, start: int, position: int) -> ScoreTerms:
    """The terms of one head for a call with the keys that a row sees alone."""
    terms = found.terms.of_head(head).of_keys(start, position + 1)
    if found.stride > 1 and terms.distance_bias is not None:
        terms = terms._replace(distance_bias=terms.distance_bias[:, :: found.stride])
    return terms.map(lambda each: each.cpu().double())


def _with_power(stages: Stages, power: int | Literal["own"] | None) -> Stages:
    if power == "own":
        return stages
    return replace(stages, sharpen=power)
