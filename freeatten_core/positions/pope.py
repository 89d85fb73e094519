"""PoPE (arXiv 2509.10534): how much and where are told apart.

    score_ij = Σ_c μ(q_ic) μ(k_jc) cos((i − j) θ_c − δ_c) / √D,   μ = softplus,   θ_c = b^(−c/D)

over all c = 0 … D − 1, with δ learned a key head, in [−2π, 0] and 0 at the start (after
lucidrains/PoPE-pytorch, `pope.py`). It is the product of vectors of twice the size,
`μ(q) · (cos iθ, sin iθ)` and `μ(k) · (cos(jθ + δ), sin(jθ + δ))`, so every kernel computes it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["frequencies", "polar_key", "polar_query"]


def frequencies(dim: int, base: float) -> Tensor:
    """θ of every dimension, float64 (dim,)."""
    return base ** (-torch.arange(dim, dtype=torch.float64) / dim)


def polar_query(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries (B, H, L, 2D) from (B, H, L, D) and cos and sin of iθ, (L, D) each.

    With √2, because an operator divides by √(2D).
    """
    return _polar(vectors, math.sqrt(2) * cos, math.sqrt(2) * sin)


def polar_key(vectors: Tensor, cos: Tensor, sin: Tensor, phase: Tensor) -> Tensor:
    """Keys (B, H, L, 2D) from (B, H, L, D), cos and sin of jθ, and δ (H, D), held in [−2π, 0]."""
    held = phase.float().clamp(-2 * math.pi, 0.0)[:, None]
    later, ahead = held.cos(), held.sin()
    return _polar(vectors, cos * later - sin * ahead, sin * later + cos * ahead)


def _polar(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    # contiguous: of a transposed input torch.compile foresees other strides of softplus' gradient
    # than it has, and what follows in the graph fails
    much = F.softplus(vectors.contiguous().float())
    return torch.cat([much * cos, much * sin], dim=-1).to(vectors.dtype)
