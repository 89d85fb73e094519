"""Weights that need their whole row, on a panel of scores, in place, and their gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from freeatten_core.variants.stages import Stages

from ...call import SOFTPICK_EPS
from .panel import Workspace
from .sticks import break_sticks_, undo_sticks_

__all__ = ["WholeRows", "undo_rows_", "weigh_rows_"]

THRESHOLD_SWEEPS = 12
"""Newton's method from below is exact after 4 to 7 sweeps on random and on equal scores; a GPU,
which is not asked when it is done, does them all."""


class WholeRows(NamedTuple):
    """A panel of weights (..., rows, keys), and what `RowStatistics.normaliser` says of its rows:
    `shift + log total` of softpick, `total` of others, (..., rows) each."""

    weights: Tensor
    shift: Tensor
    total: Tensor


def weigh_rows_(variant: Stages, score: Tensor, workspace: Workspace) -> WholeRows:
    """Weights in place of scores (..., rows, keys), −inf where a row does not see a key."""
    if variant.needs_order:
        weights = break_sticks_(score, workspace)
        return WholeRows(
            weights, torch.zeros_like(weights[..., 0]), torch.ones_like(weights[..., 0])
        )
    if variant.positivity == "softpick":
        return _pick_(score, workspace)
    above, tau = _above_threshold_(score, workspace)
    return WholeRows(above.square_(), torch.zeros_like(tau), tau)


def undo_rows_(
    variant: Stages, score: Tensor, grad_weights: Tensor, inner: Tensor, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """Weights, and the gradient of the score in place of theirs, (..., rows, keys).

    `inner` is `Σ_j w_j dw_j` of every row, (..., rows).
    """
    if variant.needs_order:
        return undo_sticks_(score, grad_weights, workspace)
    if variant.positivity == "softpick":
        return _undo_pick_(score, grad_weights, inner, workspace)
    above, _ = _above_threshold_(score, workspace)  # √w, which is dw/ds too
    pulled = (above * grad_weights).sum(-1) / above.sum(-1)
    grad_score = grad_weights.sub_(pulled[..., None]).mul_(above)
    return above.square_(), grad_score


def _pick_(score: Tensor, workspace: Workspace) -> WholeRows:
    """Softpick: `e^s − 1` above 0 as `−e^s (e^−s − 1)`, which neither overflows nor cancels."""
    shift = score.amax(-1).clamp_(min=0)
    one = (-shift).exp_()
    fallen = workspace.panel("fallen", *score.shape)
    torch.clamp(score, max=0, out=fallen).expm1_().masked_fill_(score == -torch.inf, 0)
    total = one * (SOFTPICK_EPS - fallen.sum(-1))
    risen = torch.clamp(score, min=0, out=fallen)
    score.copy_(risen).neg_().expm1_().neg_()
    weights = score.mul_(risen.sub_(shift[..., None]).exp_())
    total += weights.sum(-1)
    return WholeRows(weights.div_(total[..., None]), shift, total)


def _undo_pick_(
    score: Tensor, grad_weights: Tensor, inner: Tensor, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """`ds = e^s (1[s > 0] dw − sign(s) Σ w dw) / Σ |e^s − 1|`."""
    sign = torch.sign(score, out=workspace.panel("sign", *score.shape))
    risen = workspace.panel("risen", *score.shape)
    risen.copy_(score)
    weights, shift, total = _pick_(score, workspace)
    grad_score = grad_weights.masked_fill_(sign <= 0, 0).sub_(sign.mul_(inner[..., None]))
    grad_score.mul_(risen.sub_(shift[..., None]).exp_()).div_(total[..., None])
    return weights, grad_score


def _above_threshold_(score: Tensor, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """`max(0, s/2 − τ)` in place of scores, its squares divided by their sum; and `τ`, (..., rows).

    The norm of `max(0, s/2 − τ)` is convex in τ and falls, so that Newton's steps to where it is
    1 begin where it is at least 1, at the largest score less 1, and never overshoot.
    """
    half = score.mul_(0.5)
    tau = half.amax(-1) - 1
    above = workspace.panel("above", *half.shape)
    for _ in range(THRESHOLD_SWEEPS):
        torch.sub(half, tau[..., None], out=above).clamp_(min=0)
        norm = torch.linalg.vector_norm(above, dim=-1)
        risen = tau + (norm - 1) * norm / above.sum(-1)
        if not half.is_cuda and bool((risen <= tau).all()):
            break
        tau = risen
    above = half.sub_(tau[..., None]).clamp_(min=0)
    norm = torch.linalg.vector_norm(above, dim=-1)
    return above.div_(norm[..., None]), tau
