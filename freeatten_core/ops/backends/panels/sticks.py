"""Stick-breaking on a panel of scores, in place, and its gradient.

With `softplus(s) = −log(1 − σ(s))` a weight is `exp(s_j − Σ_{j≤k<i} softplus(s_k))`, summed from
the nearest key on, so that what is large, and needs few digits, comes last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .panel import Workspace
from .stages import SATURATED

__all__ = ["break_sticks_", "undo_sticks_"]


def break_sticks_(score: Tensor, workspace: Workspace) -> Tensor:
    """Weights in place of scores (..., rows, keys); the last row's own key is the last."""
    _own(score).fill_(-torch.inf)
    left = workspace.panel("left", *score.shape)
    torch.ops.aten.softplus.out(score, 1, SATURATED, out=left)
    passed = torch.cumsum(left.flip(-1), -1, out=left)
    rest = passed[..., -1].neg().exp_()
    weights = score.sub_(passed.flip(-1)).exp_()
    _own(weights).copy_(rest)
    return weights


def undo_sticks_(
    score: Tensor, grad_weights: Tensor, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """Weights, and the gradient of the score in place of theirs, (..., rows, keys).

    `ds_j = w_j g_j − σ(s_j) (Σ_{k≤j} w_k g_k + w_i g_i)`: a larger share leaves less to all keys
    farther back and to the row's own.
    """
    share = torch.sigmoid(score, out=workspace.panel("share", *score.shape))
    _own(share).zero_()
    weights = break_sticks_(score, workspace)
    grad_score = grad_weights.mul_(weights)
    of_rest = _own(grad_score).clone()
    _own(grad_score).zero_()
    farther = torch.cumsum(grad_score, -1, out=workspace.panel("left", *score.shape))
    grad_score.addcmul_(share, farther.add_(of_rest[..., None]), value=-1)
    return weights, grad_score


def _own(panel: Tensor) -> Tensor:
    """What a panel (..., rows, keys) holds of every row's own key, (..., rows), a view."""
    return panel[..., -panel.shape[-2] :].diagonal(dim1=-2, dim2=-1)
