"""1.5-entmax (Peters et al. 2019, arXiv 1905.05702).

a_j = max(0, s_j / 2 − τ)²        τ such that Σ_j a_j = 1
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..call import in_transform

__all__ = ["thresholds"]

SWEEPS = 12
"""Of Newton's method where it is not asked when it is done: where a compiler unrolls it, on a GPU,
which would wait for every answer, and under `vmap`, which has none for all. 4 to 7 are enough on
random and equal scores, 9 were the most on rows made to need many."""
MOST_SWEEPS = 100


def thresholds(score: Tensor, visible: Tensor) -> Tensor:
    """`τ` of every row, (..., Lq, 1), exactly: with `z = s/2` and the k keys above it, their mean m
    and `q = Σ (z − m)²`, it is `m − √((1 − q) / k)`. Gradients go through this formula.

    Args:
        score: `s`, (..., Lq, Lk).
        visible: bool, (Lq, Lk); rows that see no key get 0.
    """
    half = (score / 2).masked_fill(~visible, -torch.inf)
    above = half.detach() > _found(half.detach())
    size = above.sum(-1, keepdim=True)
    many = size.clamp(min=1)
    mean = torch.where(above, half, 0.0).sum(-1, keepdim=True) / many
    spread = torch.where(above, half - mean, 0.0).square().sum(-1, keepdim=True)
    root = ((1 - spread) / many).clamp(min=torch.finfo(score.dtype).tiny)
    return torch.where(size > 0, mean - root.sqrt(), 0.0)


def _found(half: Tensor) -> Tensor:
    """Which keys are above the threshold is all that is asked of this τ, (..., Lq, 1).

    The norm of `max(0, z − τ)` is convex in τ and falls, so that Newton's steps to where it is 1
    begin where it is at least 1, at the largest z less 1, and never overshoot.
    """
    highest = half.amax(-1, keepdim=True)
    tau = torch.where(highest.isfinite(), highest, 0.0) - 1
    unasked = torch.compiler.is_compiling() or half.is_cuda or in_transform()
    for _ in range(SWEEPS if unasked else MOST_SWEEPS):
        above = (half - tau).clamp(min=0)
        norm = torch.linalg.vector_norm(above, dim=-1, keepdim=True)
        total = above.sum(-1, keepdim=True)
        risen = tau + (norm - 1) * norm / torch.where(total > 0, total, 1.0)
        if not unasked and bool((risen <= tau).all()):
            break
        tau = torch.maximum(tau, risen)
    return tau
