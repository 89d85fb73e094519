"""Rotary position embedding (arXiv 2104.09864) and its scaling at inference by YaRN."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

YARN_LOW, YARN_HIGH = 1.0, 32.0
"""α and β of YaRN (arXiv 2309.00071, section 3.2): a dimension that turns fewer than α times in
the training length is interpolated, one that turns more than β times is left as it is."""


@dataclass(frozen=True)
class Rope:
    """Angles of a rotary embedding.

    Args:
        dim: head size, even.
        base: 10000 in the original.
        train_length: tokens the model was trained at.
        stretch: by how much YaRN stretches the training length; 1 is the plain embedding.
    """

    dim: int
    base: float
    train_length: int
    stretch: float = 1.0

    def frequencies(self) -> Tensor:
        """θ of every pair of dimensions, float64 (dim / 2,).

        YaRN ("NTK-by-parts", eqs. 21–23): `(1 − γ) θ / s + γ θ` with γ a ramp in the number of
        turns `r = L θ / 2π` from 0 at α to 1 at β.
        """
        pair = torch.arange(0, self.dim, 2, dtype=torch.float64)
        theta = self.base ** (-pair / self.dim)
        if self.stretch == 1:
            return theta
        turns = self.train_length * theta / (2 * math.pi)
        ramp = ((turns - YARN_LOW) / (YARN_HIGH - YARN_LOW)).clamp(0, 1)
        return theta * ((1 - ramp) / self.stretch + ramp)

    @property
    def temperature(self) -> float:
        """What query and key are both multiplied with: `0.1 ln s + 1` (YaRN, eq. 25)."""
        return 0.1 * math.log(self.stretch) + 1 if self.stretch > 1 else 1.0

    def table(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """cos and sin of positions 0…length − 1, float32 (length, dim / 2) each."""
        position = torch.arange(length, dtype=torch.float64)
        angle = torch.outer(position, self.frequencies())
        cos, sin = angle.cos() * self.temperature, angle.sin() * self.temperature
        return cos.float().to(device), sin.float().to(device)


def rotate(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (B, H, L, D) by the angles of its positions; pairs are (d, d + D/2)."""
    first, second = vectors.float().chunk(2, dim=-1)
    turned = (first * cos - second * sin, first * sin + second * cos)
    return torch.cat(turned, dim=-1).to(vectors.dtype)
