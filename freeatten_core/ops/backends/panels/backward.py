"""The analytic gradient in panels; formulas in the order of the four stages, undone from the end.

For LSSAR, with `dw_ij = do_i·v_j` and `D_i = do_i·o_i`:
`du = p t^(p−1) (dw − D) / (u_max R)`, `da = N du`, `E = O Σ_j du`, `ds = f'(s) (da − E) / S`.
`E` needs no `Σ a·da` because the weights are homogeneous of degree 0 in `u`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.basics.precision import without_autocast

from ...call import ScoreTerms
from .operands import Operands
from .panel import Block, RowScalars, Workspace, row_blocks, sum_diagonals
from .stages import (
    above_offset_,
    direction_slope_,
    make_positive_,
    positivity_slope,
    powers,
    row_divisor,
)
from .whole_rows import undo_rows_

__all__ = ["backward"]


@without_autocast()
def backward(
    operands: Operands,
    value: Tensor,
    output: Tensor,
    grad_output: Tensor,
    scalars: RowScalars,
    *,
    by_distance: bool = False,
) -> tuple[Tensor, Tensor, Tensor, ScoreTerms]:
    """Gradients of query (B, H, Lq, D), key (B, Hkv, Lk, D), value (B, Hkv, Lk, Dv) and terms.

    Args:
        operands: queries and keys, as the forward had them.
        value: (B, Hkv, Lk, Dv).
        output, grad_output: (B, H, Lq, Dv).
        scalars: from the forward.
        by_distance: whether those of slope and bias are wanted, which take one more panel.
    """
    problem, dtype = operands.problem, operands.key.dtype
    values = value.reshape(len(operands.key), problem.key_length, value.shape[-1]).to(dtype)
    grouped = (len(values), problem.groups, problem.query_length, value.shape[-1])
    grad_output = grad_output.reshape(grouped).to(dtype)
    inner = (grad_output * output.reshape(grouped).to(dtype)).sum(-1)  # D_i

    grad_query, grad_key, grad_value = (
        torch.zeros_like(x, memory_format=torch.contiguous_format)
        for x in (operands.query, operands.key, values)
    )
    grad_terms = _TermGradients(operands, by_distance)
    workspace = Workspace(values)
    for block in row_blocks(problem, values):
        at = (block.heads, slice(None), block.rows)
        grad_rows = grad_output[at].flatten(1, 2)
        keys = (block.heads, block.keys)
        grad_weights = workspace.panel("grad", *grad_rows.shape[:2], block.high - block.low)
        torch.bmm(grad_rows, values[keys].mT, out=grad_weights)
        grad_weights = grad_weights.view(
            len(grad_rows), problem.groups, block.stop - block.start, -1
        )
        weights, grad_score, grad_kept = _undo_stages(
            operands, block, workspace, scalars, grad_weights, inner[at]
        )
        grad_terms.add(block, grad_score, grad_kept)
        bent = operands.bent(block, workspace)
        if bent is not None:
            grad_score = grad_score.mul_(bent)
        grad_score = grad_score.flatten(1, 2)
        grad_value[keys].baddbmm_(weights.flatten(1, 2).mT, grad_rows)
        grad_key[keys].baddbmm_(grad_score.mT, operands.scaled_query(block))
        through = torch.bmm(grad_score, operands.key[keys]).view(grad_query[at].shape)
        grad_terms.add_scale(block, through)
        grad_query[at] = through * operands.row_scale(block)

    del workspace  # its memory is needed below
    if problem.variant.cosine:
        direction_slope_(grad_query, operands.query, operands.query_norm)
        direction_slope_(grad_key, operands.key, operands.key_norm)
    by_row = grad_query.view(problem.batch, problem.heads, problem.query_length, problem.dim)
    by_key = grad_key.view(*value.shape[:3], problem.dim)
    return by_row, by_key, grad_value.view_as(value), grad_terms.finished()


class _TermGradients:
    """Gradients of the score's terms, summed block by block."""

    def __init__(self, operands: Operands, by_distance: bool) -> None:
        problem, key = operands.problem, operands.key
        shape = (problem.batch * problem.kv_heads, problem.groups)
        self._operands = operands
        self._scale = None if operands.head_scale is None else key.new_zeros(shape)
        self._by_distance = key.new_zeros(*shape, problem.key_length) if by_distance else None
        self._decay = None if operands.decay is None else torch.zeros_like(operands.decay)

    def add_scale(self, block: Block, through: Tensor) -> None:
        """`through` is `Σ_j ds_ij k_j` of every row, (heads, G, rows, D)."""
        if self._scale is None:
            return
        at = (block.heads, slice(None), block.rows)
        rows = (self._operands.query[at] * through).sum(-1) * self._operands.scale[block.rows]
        self._scale[block.heads] += rows.sum(-1)

    def add(self, block: Block, grad_score: Tensor, grad_kept: Tensor) -> None:
        """`grad_kept` is `∂/∂(c_i − c_j)`; (heads, G, rows, keys) each."""
        if self._by_distance is not None:
            self._by_distance[block.heads, :, : grad_score.shape[-1]] += sum_diagonals(grad_score)
        if self._decay is not None:
            # its rows sum to 0, as what is common to a row leaves it as it is: `c_i` has none
            self._decay[block.heads, :, block.keys] -= grad_kept.sum(2)

    def finished(self) -> ScoreTerms:
        """Summed over the batch; slope and bias None where they were not wanted."""
        operands, scale = self._operands, self._scale
        if scale is not None:
            scale = self._over_batch(scale)
        slope = bias = None
        if self._by_distance is not None:
            slope, bias = operands.terms.undo_by_distance(self._over_batch(self._by_distance))
        problem = operands.problem
        shape = (problem.batch, problem.heads, problem.key_length)
        return ScoreTerms(
            scale, slope, bias, None if self._decay is None else self._decay.view(shape)
        )

    def _over_batch(self, values: Tensor) -> Tensor:
        """(H, …) of (B·Hkv, G, …)."""
        problem = self._operands.problem
        by_text = values.view(problem.batch, problem.kv_heads, *values.shape[1:])
        return by_text.sum(0).flatten(0, 1)


def _undo_stages(
    operands: Operands,
    block: Block,
    workspace: Workspace,
    scalars: RowScalars,
    grad_weights: Tensor,
    inner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised weights, the gradient of the score, and that of the positivity times the
    positivity, (heads, G, rows, keys) each.

    Overwrites `grad_weights`; `inner` is `D_i`, (heads, G, rows).
    """
    problem = operands.problem
    variant, count = problem.variant, operands.count[block.rows]
    at = (block.heads, slice(None), block.rows)
    score = operands.scores(block, workspace, "score")
    if variant.whole_rows:
        weights, grad_score = undo_rows_(variant, score, grad_weights, inner, workspace)
        return weights, grad_score, grad_score
    slope = workspace.panel("slope", *score.shape)
    positive = make_positive_(problem, score, scalars.shift[at], base_2=operands.base_2)
    positivity_slope(variant.positivity, positive, slope)
    kept = operands.kept(block, workspace)
    if kept is not None:
        slope.mul_(kept)
        kept = torch.mul(kept, positive, out=kept)
        positive.copy_(kept)

    if variant.sharpen is None:
        if variant.divides_by_sum:
            grad_weights.sub_(inner[..., None])
        divisor = row_divisor(problem, count, scalars.total[at])
        grad_positive = grad_weights.div_(divisor[..., None])
        weights = positive.div_(divisor[..., None])
    else:
        total = scalars.total[at]
        weights, grad_share = _undo_sharpening(
            operands, block, workspace, scalars, grad_weights, inner, positive
        )
        grad_positive = grad_share.div_(total[..., None])
    if kept is None:
        grad_score = grad_positive.mul_(slope)
        return weights, grad_score, grad_score
    grad_kept = kept.mul_(grad_positive)
    return weights, grad_positive.mul_(slope), grad_kept


def _undo_sharpening(
    operands: Operands,
    block: Block,
    workspace: Workspace,
    scalars: RowScalars,
    grad_weights: Tensor,
    inner: Tensor,
    positive: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sharpened weights and `da − E`, in place of `positive` and of `grad_weights`."""
    power = operands.problem.variant.sharpen
    assert power is not None
    count, at = operands.count[block.rows], (block.heads, slice(None), block.rows)
    total, highest = scalars.total[at], scalars.highest[at]
    offset, raised = scalars.offset[at], scalars.raised[at]
    above = above_offset_(positive, count, total, highest, offset)
    weights, grad_raised = powers(above, power, workspace)
    safe = torch.where(highest == 0, torch.ones_like(highest), highest)
    grad_above = grad_weights.sub_(inner[..., None]).mul_(grad_raised)
    grad_above.mul_((power / (safe * raised))[..., None])
    correction = offset * grad_above.sum(-1)  # E_i
    grad_share = grad_above.mul_(count[:, None]).sub_(correction[..., None])
    return weights.div_(raised[..., None]), grad_share
