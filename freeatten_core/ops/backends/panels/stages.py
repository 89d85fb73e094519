"""The stages of a variant on a panel, in place, and their slopes.

The score, a product that writes the panel, is `Operands.scores`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.basics.powers import power_
from freeatten_core.variants.stages import Positivity

from ...call import FIRST_ROWS, LOG2_E, UNIFORM_TOLERANCE, Problem
from .panel import Block, Operands, RowScalars, Workspace

__all__ = [
    "above_offset_",
    "make_positive_",
    "positive_",
    "positivity_slope",
    "powers",
    "reduce_rows",
    "row_divisor",
]


def make_positive_(operands: Operands, score: Tensor, shift: Tensor) -> Tensor:
    """The positivity stage of a panel of `scores`, in place.

    `shift` (..., rows), a score, is subtracted before `exp`.
    """
    positivity = operands.problem.variant.positivity
    if positivity == "exp":
        score.sub_(shift[..., None] * LOG2_E)
    return positive_(positivity, score, base_2=operands.base_2)


def positive_(positivity: Positivity, score: Tensor, *, base_2: bool) -> Tensor:
    """The positivity of scores, in place; with `base_2` of score · log2 e, as always for `exp`."""
    match positivity:
        case "exp":
            return score.exp2_()
        case "softplus" if base_2:
            return score.exp2_().log1p_()
        case "softplus":
            return torch.ops.aten.softplus.out(score, out=score)  # type: ignore[no-any-return]
        case "sigmoid":
            return score.sigmoid_()
        case "relu":
            return score.relu_()


def reduce_rows(problem: Problem, positive: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`S`, `u_max` and `O` of a panel of positive scores; each (heads, G, rows)."""
    total = positive.sum(-1)
    highest = positive.amax(-1)
    if problem.variant.sharpen is None:
        return total, highest, torch.zeros_like(total)
    peak = count * highest
    offset = ((peak > (1 + UNIFORM_TOLERANCE) * total) & (count > FIRST_ROWS)).to(total.dtype)
    return total, peak / total.masked_fill(total == 0, 1) - offset, offset


def row_divisor(operands: Operands, block: Block, scalars: RowScalars) -> Tensor:
    """What a block's weights are divided by, broadcastable to (heads, G, rows)."""
    match operands.problem.variant.normalise:
        case "l1":
            return scalars.raised[block.heads, :, block.rows]
        case "count":
            return operands.count[block.rows]
        case "none" | "stick-breaking":
            return torch.ones_like(operands.count[block.rows])


def above_offset_(
    positive: Tensor, count: Tensor, total: Tensor, highest: Tensor, offset: Tensor
) -> Tensor:
    """`t = relu(N·a − O) / u_max` in place of `f`; in [0, 1], so no power of it overflows."""
    scale = total * highest
    slope = count / scale.masked_fill_(scale == 0, 1)
    rise = offset / highest.masked_fill(highest == 0, 1)
    return positive.mul_(slope[..., None]).sub_(rise[..., None]).clamp_(min=0)


def positivity_slope(positivity: str, positive: Tensor, slope: Tensor) -> None:
    """`f'(s)` from `f(s)`; it is 0 on hidden keys, where `f` is 0."""
    match positivity:
        case "exp":
            slope.copy_(positive)
        case "softplus":  # σ(s) = 1 − e^(−f), accurate where f is tiny
            torch.neg(positive, out=slope).expm1_().neg_()
        case "sigmoid":
            torch.mul(positive, positive, out=slope).neg_().add_(positive)
        case "relu":
            torch.sign(positive, out=slope)


def powers(above: Tensor, p: int, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """`t^p` and `t^(p−1)`, where `t^0` is 1 for `t > 0` and 0 elsewhere."""
    lower = workspace.panel("lower", *above.shape)
    if p == 1:
        return above, torch.sign(above, out=lower)
    scratch = workspace.panel("power", *above.shape)
    lower.copy_(above)
    lower, _ = power_(lower, p - 1, scratch)
    return above.mul_(lower), lower
