"""Positions as their papers write them, in float64 and in no hurry."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def ntk(base: float, dim: int, alpha: float) -> Tensor:
    """ω_i = (b · α^(D/(D−2)))^(−2i/D), (D / 2,)."""
    pair = torch.arange(dim // 2).double()
    return (base * alpha ** (dim / (dim - 2))) ** (-2 * pair / dim)


def clex_frequencies(up: Tensor, down: Tensor, base: float, t: float, step: float = 0.01) -> Tensor:
    """exp z(t) of CLEX's equation (arXiv 2310.16450) by Runge–Kutta steps of 0.01 in t."""
    up, down, pairs = up.double(), down.double(), len(up)
    pair = torch.arange(pairs).double()

    def moves(t: float, z: Tensor) -> Tensor:
        known = torch.log(ntk(base, 2 * pairs, 2 * t - 1))
        by_itself = -4 * pair / ((2 * pairs - 2) * (2 * t - 1))
        return torch.tanh((z + known) @ up) @ down + by_itself

    count = round((t - 1) / step)
    z = torch.log(ntk(base, 2 * pairs, 1.0))
    for now in (1 + index * step for index in range(count)):
        first = moves(now, z)
        second = moves(now + step / 2, z + step / 2 * first)
        third = moves(now + step / 2, z + step / 2 * second)
        fourth = moves(now + step, z + step * third)
        z = z + step / 6 * (first + 2 * second + 2 * third + fourth)
    return z.exp()


def turned(vectors: Tensor, frequencies: Tensor) -> Tensor:
    """(…, L, D) with the pairs (d, d + D/2) turned by position · ω_d."""
    length, half = vectors.shape[-2], vectors.shape[-1] // 2
    angle = torch.outer(torch.arange(length).double(), frequencies)
    pairs = torch.complex(vectors[..., :half], vectors[..., half:])
    pairs = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def pope_scores(query: Tensor, key: Tensor, phase: Tensor, base: float) -> Tensor:
    """`Σ_c μ(q_ic) μ(k_jc) cos((i − j) θ_c − δ_c) / √D` (arXiv 2509.10534), (B, H, L, L).

    Args:
        query, key: (B, H, L, D).
        phase: δ (H, D).
    """
    length, dim = query.shape[-2:]
    theta = base ** (-torch.arange(dim).double() / dim)
    place = torch.arange(length).double()
    apart = (place[:, None] - place)[..., None] * theta - phase[:, None, None]
    much = [torch.log1p(torch.exp(each)) for each in (query, key)]
    return torch.einsum("bhic,bhjc,hijc->bhij", *much, apart.cos()) / math.sqrt(dim)


def weights(count: int, seed: int, scale: float = 0.1) -> tuple[Tensor, Tensor]:
    """W_up and W_down of CLEX as a training might leave them, for so many pairs; float64."""
    draw = torch.Generator().manual_seed(seed)
    shapes = (count, 2 * count), (2 * count, count)
    up, down = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return up / math.sqrt(count), down * scale / math.sqrt(count)
