"""Softpick (Zuhri et al., arXiv 2504.20966).

    a_j = max(0, e^{s_j} − 1) / (Σ_k |e^{s_k} − 1| + ε)

Keys with a score below 0 get nothing and still divide the row, whose sum is at most 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..call import SOFTPICK_EPS

__all__ = ["picked"]


def picked(score: Tensor, visible: Tensor) -> Tensor:
    """Weights (..., Lq, Lk), of scores that are divided by e^m, m the row's largest or 0.

    Args:
        score: `s`, (..., Lq, Lk).
        visible: bool, (Lq, Lk).
    """
    zero = torch.zeros((), dtype=score.dtype, device=score.device)
    highest = torch.where(visible, score, zero).amax(-1, keepdim=True).clamp(min=0).detach()
    # by expm1 on both sides of 0: near it a difference of exponentials has few digits left
    above = -torch.expm1(-score.clamp(min=0)) * (score - highest).exp()
    below = torch.expm1(score.clamp(max=0)) * (-highest).exp()
    risen = torch.where(visible, torch.where(score > 0, above, below), zero)
    total = risen.abs().sum(-1, keepdim=True) + SOFTPICK_EPS * (-highest).exp()
    return risen.relu() / total
