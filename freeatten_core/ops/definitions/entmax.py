"""1.5-entmax (Peters et al. 2019, arXiv 1905.05702).

a_j = max(0, s_j / 2 − τ)²        τ such that Σ_j a_j = 1
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["thresholds"]


def thresholds(score: Tensor, visible: Tensor) -> Tensor:
    """`τ` of every row, (..., Lq, 1), exactly: of the support of k largest scores it solves
    `Σ (z − τ)² = 1`, `z = s/2`; the right k is the largest that keeps its own scores above τ.

    Args:
        score: `s`, (..., Lq, Lk).
        visible: bool, (Lq, Lk); rows that see no key get 0.
    """
    half = (score / 2).masked_fill(~visible, -torch.inf)
    ordered = half.sort(-1, descending=True).values
    seen = ordered.isfinite()
    ordered = torch.where(seen, ordered, torch.zeros_like(ordered))
    size = torch.arange(1, score.shape[-1] + 1, dtype=score.dtype, device=score.device)
    mean = ordered.cumsum(-1) / size
    spread = (ordered**2).cumsum(-1) - size * mean**2
    root = ((1 - spread) / size).clamp(min=0)
    safe = torch.where(root > 0, root, torch.ones_like(root)).sqrt()
    tau = mean - torch.where(root > 0, safe, torch.zeros_like(safe))
    support = (seen & (tau <= ordered)).sum(-1, keepdim=True)
    found = tau.gather(-1, (support - 1).clamp(min=0))
    return torch.where(support > 0, found, torch.zeros_like(found))
