"""Attention in panels of (heads × rows × visible keys): any device, never L×L.

A panel is scratch that stays in the cache, is allocated once a call and written with `out=`;
fresh tensors cost two to five times as much, in page faults. Scores are kept for the whole
panel, so LSSAR needs no second product. Inputs below float32 are computed in float32, their
weights rounded to the input's type before they meet the values, as fused kernels do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.basics.powers import power_
from freeatten_core.basics.precision import without_autocast

from ...call import LOG2_E, Problem
from .operands import Operands
from .panel import FORWARD_PANEL, Block, RowScalars, Workspace, row_blocks
from .stages import above_offset_, make_positive_, reduce_rows, row_divisor, vanishing
from .whole_rows import weigh_rows_

__all__ = ["forward", "round_weights_", "weights_panel"]


def weights_panel(
    operands: Operands, block: Block, workspace: Workspace, scalars: RowScalars
) -> Tensor:
    """Unnormalised weights (heads, G, rows, keys), to be divided by `row_divisor`.

    Fills the block's part of `scalars`.
    """
    problem = operands.problem
    panel = operands.scores(block, workspace, "score")
    at = (block.heads, slice(None), block.rows)
    if problem.variant.whole_rows:
        rows = weigh_rows_(problem.variant, panel, workspace)
        scalars.shift[at], scalars.total[at] = rows.shift, rows.total
        return rows.weights
    if problem.variant.positivity == "exp" and problem.variant.divides_by_sum:
        scalars.shift[at] = panel.amax(-1) / LOG2_E
    if problem.variant.normalise == "off-by-one":
        scalars.shift[at] = scalars.shift[at].clamp(min=0)
    positive = make_positive_(problem, panel, scalars.shift[at], base_2=operands.base_2)
    kept = operands.kept(block, workspace)
    if kept is not None:
        positive.mul_(kept)
    if not problem.variant.divides_by_sum:
        return positive
    count = operands.count[block.rows]
    total, highest, offset = reduce_rows(problem, positive, count)
    if problem.variant.normalise == "off-by-one":
        total += (-scalars.shift[at]).exp()
    scalars.total[at] = total.masked_fill(total == 0, 1)
    scalars.highest[at], scalars.offset[at] = highest, offset
    if problem.variant.sharpen is None:
        divisor = scalars.total[at]
        if operands.narrow:  # f can lie outside the range of float16, f / max f cannot
            safe = highest.masked_fill(highest == 0, 1)
            positive.div_(safe[..., None])
            divisor = divisor / safe
        scalars.raised[at] = divisor
        return positive
    above = above_offset_(positive, count, total, highest, offset)
    scratch = workspace.panel("power", *above.shape)
    weights, _ = power_(above, problem.variant.sharpen, scratch)
    raised = weights.sum(-1)
    scalars.raised[at] = raised.masked_fill_(raised < vanishing(raised.dtype), 1)
    return weights


def round_weights_(
    problem: Problem, panel: Tensor, divisor: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Round `weights_panel` to `dtype` in place, when that is the narrower type; and what the
    rounded weights are divided by.

    Rows that are not divided by their sum have no bound yet: their largest is divided out first,
    so that none leaves the range of float16 before it is divided by `N`.
    """
    if dtype.itemsize >= panel.dtype.itemsize:
        return panel, divisor
    if not problem.variant.divides_by_sum:
        highest = panel.amax(-1)
        safe = highest.masked_fill_(highest == 0, 1)
        panel.div_(safe[..., None])
        divisor = divisor / safe
    return panel.copy_(panel.to(dtype)), divisor


@without_autocast()
def forward(operands: Operands, value: Tensor) -> tuple[Tensor, RowScalars]:
    """Output (B, H, Lq, Dv) in the type of `value`, and the rows' scalars.

    Args:
        operands: queries and keys.
        value: (B, Hkv, Lk, Dv).
    """
    problem = operands.problem
    values = value.reshape(len(operands.key), problem.key_length, value.shape[-1]).to(
        operands.key.dtype
    )
    shape = (problem.batch, problem.heads, problem.query_length, value.shape[-1])
    output = values.new_empty(shape)  # itself and no view, so that it can be changed in place
    output[:, :, : problem.first_row] = 0
    grouped = output.view(len(values), problem.groups, *shape[2:])
    scalars = RowScalars.empty(problem, values)
    workspace = Workspace(values)
    for block in row_blocks(problem, values, FORWARD_PANEL):
        at = (block.heads, slice(None), block.rows)
        weights = weights_panel(operands, block, workspace, scalars)
        divisor = row_divisor(problem, operands.count[block.rows], scalars.raised[at])
        weights, divisor = round_weights_(problem, weights, divisor, value.dtype)
        mixed = workspace.panel("mixed", *weights.shape[:3], value.shape[-1])
        torch.bmm(weights.flatten(1, 2), values[block.heads, block.keys], out=mixed.flatten(1, 2))
        torch.div(mixed, divisor[..., None], out=grouped[at])
    return output.to(value.dtype), scalars
