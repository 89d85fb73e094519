"""What can be said of every row, and the exact weights of a region, without the L×L matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from freeatten_core.basics.powers import power_
from freeatten_core.basics.precision import without_autocast

from ...call import NO_TERMS, Problem, ScoreTerms, compute_dtype
from ...row_statistics import SMALL, RowStatistics
from .forward import round_weights_, weights_panel
from .operands import Operands
from .panel import Block, RowScalars, Workspace, row_blocks
from .stages import row_divisor

__all__ = ["region_weights", "row_statistics"]


@torch.no_grad()
@without_autocast()
def row_statistics(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    terms: ScoreTerms = NO_TERMS,
    advance: Callable[[int], None] = lambda _: None,
) -> RowStatistics:
    """Row statistics of query (B, H, Lq, D) against key (B, Hkv, Lk, D).

    Args:
        advance: called with the number of scores of every panel.
    """
    # With p = 1 the panel is t itself, which tells exact zeros from powers that underflow.
    power = problem.variant.sharpen
    shared = replace(
        problem, variant=replace(problem.variant, sharpen=None if power is None else 1)
    )
    operands = Operands(shared, query, key, terms)
    rows = RowStatistics.empty(problem, operands.key)
    rows.raised.fill_(1)
    scalars = RowScalars.empty(shared, operands.key)
    workspace = Workspace(operands.key)
    for block in row_blocks(shared, operands.key):
        at = (block.heads, slice(None), block.rows)
        panel = weights_panel(operands, block, workspace, scalars)
        scratch = workspace.panel("scratch", *panel.shape)
        rows.zeros[at] = _zero_share(operands, block, scalars, panel, scratch)
        if problem.variant.whole_rows:
            scalars.highest[at] = panel.amax(-1)
        elif not problem.variant.divides_by_sum:
            scalars.total[at], scalars.highest[at] = panel.sum(-1), panel.amax(-1)
        divisor = row_divisor(problem, operands.count[block.rows], scalars.raised[at])
        if power is not None:
            panel, scratch = power_(panel, power, scratch)
        mass = panel.sum(-1)
        if power is not None:
            rows.raised[at] = divisor = mass.masked_fill(mass == 0, 1)
        _describe(rows, operands, block, panel, scratch, divisor, mass)
        if operands.narrow:
            panel, divisor = round_weights_(problem, panel, divisor, query.dtype)
            mass = panel.sum(-1)
        rows.row_sum[at] = mass / divisor
        advance(panel.numel())
    exponential = problem.variant.positivity in ("exp", "softpick")
    rows.normaliser.copy_(scalars.shift + scalars.total.log() if exponential else scalars.total)
    rows.u_max.copy_(scalars.highest)
    rows.offset.copy_(scalars.offset)
    shape = (problem.batch, problem.heads, problem.query_length)
    return rows.map(lambda tensor: tensor.view(shape))


def _zero_share(
    operands: Operands, block: Block, scalars: RowScalars, panel: Tensor, scratch: Tensor
) -> Tensor:
    """The share of exact zeros, (heads, G, rows); `panel` is `t`, or the weights before division.

    Rows with `O = 0` have none: there `u = N·a`, which is positive.
    """
    variant = operands.problem.variant
    if variant.sharpen is None and not variant.has_zeros:
        return panel.new_zeros(())
    positive = torch.gt(panel, 0, out=scratch).sum(-1)
    share = 1 - positive / operands.count[block.rows]
    if variant.sharpen is None:
        return share
    return share * scalars.offset[block.heads, :, block.rows]


def _describe(
    rows: RowStatistics,
    operands: Operands,
    block: Block,
    panel: Tensor,
    scratch: Tensor,
    divisor: Tensor,
    mass: Tensor,
) -> None:
    """Fill a block of `rows` from its panel of weights times `divisor`, whose rows sum to `mass`;
    overwrites `scratch`."""
    at = (block.heads, slice(None), block.rows)
    problem = operands.problem
    safe = mass.masked_fill(mass == 0, 1)

    # H = log M − (1/M) Σ x log x for x = w · divisor, M = Σ x
    torch.clamp(panel, min=torch.finfo(panel.dtype).tiny, out=scratch)
    mean_log = scratch.log2_().mul_(panel).sum(-1) * math.log(2) / safe
    rows.entropy[at] = (safe.log() - mean_log).clamp_(min=0)
    rows.sum_squares[at] = (torch.linalg.vector_norm(panel, dim=-1) / safe).square()

    rows.largest[at] = panel.amax(-1) / divisor
    if block.low == 0:
        rows.first[at] = panel[..., 0] / divisor
    not_small = torch.ge(panel, (SMALL * divisor)[..., None], out=scratch).sum(-1)
    rows.small[at] = 1 - not_small / operands.count[block.rows]

    # counted back from the block's last row, so that short distances are exact in float32
    shift = problem.key_length - problem.query_length
    keys = torch.arange(block.low, block.high, device=panel.device)
    back = (block.stop - 1 + shift - keys).to(panel.dtype)
    own = torch.arange(block.start, block.stop, device=panel.device)
    mean_back = (panel @ back) / safe - (block.stop - 1 - own)
    rows.mean_distance[at] = torch.where(mass == 0, 0.0, mean_back)


@torch.no_grad()
@without_autocast()
def region_weights(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    rows: tuple[int, int],
    cols: tuple[int, int],
    terms: ScoreTerms = NO_TERMS,
) -> Tensor:
    """Weights (B, H, rows, cols) of a region; rows and cols are (start, stop)."""
    shape = (problem.batch, problem.heads, rows[1] - rows[0], cols[1] - cols[0])
    seen = _keys_seen(problem, rows[1])
    if seen < 1:
        return torch.zeros(shape, dtype=compute_dtype(query), device=query.device)
    part = replace(problem, query_length=rows[1] - rows[0], key_length=seen)
    shown = query[:, :, rows[0] : rows[1]], key[:, :, :seen]
    operands = Operands(part, *shown, terms.of_keys(0, seen))
    scalars = RowScalars.empty(part, operands.key)
    workspace = Workspace(operands.key)
    region = operands.key.new_zeros(
        len(operands.key), part.groups, part.query_length, cols[1] - cols[0]
    )
    for block in row_blocks(part, operands.key):
        panel = weights_panel(operands, block, workspace, scalars)
        at = (block.heads, slice(None), block.rows)
        panel /= row_divisor(part, operands.count[block.rows], scalars.raised[at])[..., None]
        low, high = max(cols[0], block.low), min(cols[1], block.high)
        if low < high:
            region[block.heads, :, block.rows, low - cols[0] : high - cols[0]] = panel[
                ..., low - block.low : high - block.low
            ]
    return region.view(shape)


def _keys_seen(problem: Problem, stop: int) -> int:
    """How many keys the rows before `stop` can see."""
    if not problem.is_causal:
        return problem.key_length
    return stop + problem.key_length - problem.query_length
