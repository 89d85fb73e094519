"""What is said of rows, by the dense matrices of the definition in float64."""

from __future__ import annotations

import torch
from strategies import Call, dense, stages
from torch import Tensor

from freeatten_core.ops.definitions import entmax, staged
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Stages

__all__ = [
    "DESCRIBED",
    "FUSED_DESCRIBED",
    "OF_FAMILIES_DESCRIBED",
    "STICKS_DESCRIBED",
    "dense_statistics",
    "distances",
]

DESCRIBED = {
    "square, described": Call(40, 40),
    "not causal, described": Call(20, 31, is_causal=False),
    "longer cache, described": Call(9, 40),
    "more queries than keys, described": Call(40, 9),
    "grouped queries, described": Call(40, 40, heads=6, groups=3),
    "one token, described": Call(1, 1),
    "window, described": Call(40, 40, window=9),
    "learned, described": Call(
        31, 40, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=12, window=20
    ),
}
"""Calls of statistics, by their names."""
FUSED_DESCRIBED = {
    "40 tokens, described": Call(40, 40, 16, 16, batch=1, groups=2),
    "40 tokens, not causal, described": Call(40, 40, 16, 16, batch=1, groups=2, is_causal=False),
}
OF_FAMILIES_DESCRIBED = {
    "more queries than keys, described": Call(40, 20, 16, 16, batch=1),
    "window, described": Call(40, 50, 16, 16, batch=1, groups=2, window=15),
    "slope and scale, described": Call(
        40, 40, 16, 16, batch=1, groups=2, head_scale=True, distance_slope=True
    ),
    "everything, described": Call(
        40, 50, 16, 16, batch=1, groups=2, window=35, head_scale=True, distance_slope=True,
        distance_bias=12,
    ),
}  # fmt: skip
STICKS_DESCRIBED = {
    "one token, described": Call(1, 1, 16, 16, batch=1),
    "111 tokens, described": Call(111, 111, 20, 20, batch=1, heads=1),
    "longer cache, described": Call(9, 40, 16, 16, batch=2, heads=1),
    "more queries than keys, described": Call(40, 21, 16, 16, batch=1),
    "window, described": Call(45, 60, 20, 20, batch=1, groups=2, window=30),
}


def _of_whole_rows(parsed: Stages, result: staged.StageValues) -> Tensor:
    """The normaliser of a variant that needs its whole row."""
    if parsed.needs_order:
        return result.weights.sum(-1)
    if parsed.positivity == "entmax15":
        return entmax.thresholds(result.score, result.visible)[..., 0]
    risen = torch.expm1(result.score).abs() * result.visible
    return (risen.sum(-1) + 1e-6).log()


def distances(query: Tensor, key: Tensor) -> Tensor:
    """How many tokens every key lies before a row's own, (Lq, Lk)."""
    rows, keys = (torch.arange(x.shape[2], device=x.device) for x in (query, key))
    return rows[:, None] + key.shape[2] - query.shape[2] - keys


def dense_statistics(query: Tensor, key: Tensor, variant: str, options: dict) -> RowStatistics:
    """Every field, (B, H, Lq) float64; of rows that see a key."""
    parsed = stages(variant)
    result = dense(query, key, variant, options)
    visible, weights = result.visible, result.weights
    count = visible.sum(-1).double()
    mass = weights.sum(-1)
    shares = weights / torch.where(mass == 0, 1.0, mass)[..., None]
    distance = distances(query, key).double()

    if parsed.positivity == "exp":
        normaliser = result.score.masked_fill(~visible, -torch.inf).logsumexp(-1)
    else:
        normaliser = result.positivity.sum(-1)
    u_max, offset, zero = result.positivity.amax(-1), torch.zeros_like(mass), weights == 0
    if not parsed.has_zeros:
        zero = torch.zeros_like(visible)  # an exponential that underflows is none
    if parsed.normalise == "off-by-one":
        normaliser = torch.logaddexp(normaliser, torch.zeros_like(normaliser))
    if parsed.whole_rows:
        normaliser, u_max = _of_whole_rows(parsed, result), weights.amax(-1)
    raised = torch.ones_like(mass)
    if parsed.sharpen is not None:
        share = result.normalise * count[:, None]
        offset = staged.offset(share, count[:, None])
        u_max, zero = (share - offset).amax(-1), share <= offset
        offset = offset[..., 0]
        above = torch.where(visible, share - offset[..., None], 0).clamp(min=0)
        raised = ((above / u_max[..., None]) ** parsed.sharpen).sum(-1)
    return RowStatistics(
        normaliser=normaliser,
        u_max=u_max,
        offset=offset,
        raised=raised,
        entropy=-(shares * shares.clamp(min=1e-300).log()).sum(-1),
        largest=weights.amax(-1),
        first=weights[..., 0],
        sum_squares=shares.square().sum(-1),
        mean_distance=(shares * distance).sum(-1),
        row_sum=mass,
        zeros=(zero & visible).sum(-1) / count.clamp(min=1),
        small=((weights < 1e-6) & visible).sum(-1) / count.clamp(min=1),
    )
