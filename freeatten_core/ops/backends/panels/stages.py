"""The stages of a variant on a panel, in place, and their slopes."""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.basics.powers import power_
from freeatten_core.variants.stages import Positivity, Score

from ...call import FIRST_ROWS, LOG2_E, NORM_EPS, UNIFORM_TOLERANCE, VANISHING, Problem
from .panel import Workspace, diagonals

__all__ = [
    "SATURATED",
    "above_offset_",
    "direction",
    "direction_slope_",
    "inverse_norm",
    "make_positive_",
    "positive_",
    "positivity_slope",
    "powers",
    "reduce_rows",
    "row_divisor",
    "vanishing",
    "write_score",
]

SATURATED = 50.0
"""Beyond it softplus is the score, in float64 too; torch's own 20 costs float64 seven digits."""


def direction(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (..., D) for the cosine scores, and the lengths (..., 1) that they had."""
    norm = vectors.norm(dim=-1, keepdim=True)
    return vectors / norm.clamp(min=NORM_EPS), norm


def inverse_norm(vectors: Tensor) -> Tensor:
    """What turns products with vectors (..., D) into those with their directions, (...)."""
    inverse: Tensor = vectors.norm(dim=-1).clamp(min=NORM_EPS).reciprocal()
    return inverse


def direction_slope_(grad: Tensor, unit: Tensor, norm: Tensor) -> None:
    """`(I − x̂x̂ᵀ) dx̂ / ‖x‖` in place of `dx̂`; 0 for vectors without a direction."""
    along = (grad * unit).sum(-1, keepdim=True)
    grad.sub_(unit * along).div_(norm).masked_fill_(norm <= NORM_EPS, 0)


def write_score(
    panel: Tensor,
    query: Tensor,
    key: Tensor,
    count: Tensor,
    by_distance: Tensor | None,
    kind: Score,
    unit: float,
    softcap: float | None = None,
    key_scale: Tensor | None = None,
) -> None:
    """The score stage, times `unit`, into a panel (heads, G, rows, keys); hidden keys have one too.

    Args:
        query: (heads, G·rows, D), times the factor of its row.
        key: (heads, keys, D).
        count: `N` of every row, (rows,).
        by_distance: what is added at the distances 0 … n − 1, (heads, G or 1, n), n >= keys.
        softcap: bound of the scores before anything is added.
        key_scale: what products with a key are multiplied with, (heads, 1, 1, keys).
    """
    product = panel.flatten(1, 2)
    factor = unit if softcap is None else 1 / softcap
    torch.baddbmm(product, query, key.mT, beta=0, alpha=factor, out=product)
    if key_scale is not None:
        panel.mul_(key_scale)
    if softcap is not None:
        panel.tanh_().mul_(softcap * unit)
    if kind == "dot-log-n":
        panel.sub_(count.log()[:, None] * unit)
    if by_distance is not None:
        panel.add_(diagonals(by_distance, *panel.shape[2:]), alpha=unit)


def make_positive_(problem: Problem, score: Tensor, shift: Tensor, *, base_2: bool) -> Tensor:
    """The positivity stage of a panel of scores, in place; `base_2` as for `positive_`.

    `shift` (..., rows), a score, is subtracted before `exp`.
    """
    positivity = problem.variant.positivity
    if positivity == "exp":
        score.sub_(shift[..., None] * LOG2_E)
    return positive_(positivity, score, base_2=base_2)


def positive_(positivity: Positivity, score: Tensor, *, base_2: bool) -> Tensor:
    """The positivity of scores, in place; with `base_2` of score · log2 e, as always for `exp`."""
    match positivity:
        case "exp":
            return score.exp2_()
        case "softplus" if base_2:
            return score.exp2_().log1p_()
        case "softplus":
            # no types in PyTorch
            return torch.ops.aten.softplus.out(score, 1, SATURATED, out=score)  # type: ignore[no-any-return]
        case "sigmoid":
            return score.sigmoid_()
        case "relu":
            return score.relu_()
        case "softpick" | "entmax15":
            raise AssertionError(f"{positivity} is computed with its whole row")


def vanishing(dtype: torch.dtype) -> float:
    """`VANISHING` of a type."""
    return 2.0**-996 if dtype == torch.float64 else VANISHING


def reduce_rows(problem: Problem, positive: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`S`, `u_max` and `O` of a panel of positive scores; each (heads, G, rows)."""
    total = positive.sum(-1)
    highest = positive.amax(-1)
    if problem.variant.positivity != "exp":
        vanished = total < vanishing(total.dtype)
        total, highest = total.masked_fill(vanished, 0), highest.masked_fill(vanished, 0)
    if problem.variant.sharpen is None:
        return total, highest, torch.zeros_like(total)
    peak = count * highest
    offset = ((peak > (1 + UNIFORM_TOLERANCE) * total) & (count > FIRST_ROWS)).to(total.dtype)
    return total, peak / total.masked_fill(total == 0, 1) - offset, offset


def row_divisor(problem: Problem, count: Tensor, row_sum: Tensor) -> Tensor:
    """What rows are divided by: their sum (heads, G, rows), `N` (rows,), or ones."""
    match problem.variant.normalise:
        case "l1" | "off-by-one":
            return row_sum
        case "count":
            return count
        case "none" | "absolute" | "stick-breaking":
            return torch.ones_like(count)


def above_offset_(
    positive: Tensor, count: Tensor, total: Tensor, highest: Tensor, offset: Tensor
) -> Tensor:
    """`t = relu(N·a − O) / u_max` in place of `f`; in [0, 1], so no power of it overflows."""
    scale = total * highest
    slope = count / scale.masked_fill_(scale == 0, 1)
    rise = offset / highest.masked_fill(highest == 0, 1)
    return positive.mul_(slope[..., None]).sub_(rise[..., None]).relu_()


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
