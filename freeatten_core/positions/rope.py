"""Rotary position embedding (arXiv 2104.09864) and its scaling at inference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .clex import alpha, stretch_of
from .scalings import Ramp, Scaling

__all__ = ["Rope", "angle_table", "rotate"]

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
        stretch: by how much the training length is stretched; 1 is the plain embedding.
        scaling: how. `dynamic-ntk` and `clex-start` take the stretch from the length that is
            read instead.
        ramp: of `yarn`.
    """

    dim: int
    base: float
    train_length: int
    stretch: float = 1.0
    scaling: Scaling = "yarn"
    ramp: Ramp = "turns"

    def frequencies(self, length: int, device: torch.device | None = None) -> Tensor:
        """θ of every pair of dimensions for a text of `length` tokens, float64 (dim / 2,).

        With `s` the stretch, `b` the base and `D` the head size:

        - `pi` (arXiv 2306.15595): `θ / s`.
        - `ntk`, `dynamic-ntk` (described in arXiv 2309.00071, eq. 16): the base `b · s^(D/(D−2))`,
          so that the slowest pair is divided by `s` and the fastest is left. `clex-start`
          (arXiv 2310.16450) the same with `s = 2t − 1`, t = ⌈length / L⌉.
        - `yarn` (arXiv 2309.00071, eqs. 21–23): `(1 − γ) θ / s + γ θ` with γ a ramp in the number
          of turns `r = L θ / 2π` from 0 at α to 1 at β; or, with `dims`, in the number of the
          pair from 1 at the last whole one that turns β times to 0 at the next that turns α.
        """
        stretch = self.stretch_at(length)
        pair = torch.arange(0, self.dim, 2, dtype=torch.float64, device=device)
        theta = self.base ** (-pair / self.dim)
        if stretch == 1:
            return theta
        if self.scaling == "pi":
            return theta / stretch
        if self.scaling in ("ntk", "dynamic-ntk", "clex-start"):
            raised = self.base * stretch ** (self.dim / max(2, self.dim - 2))
            return torch.pow(raised, -pair / self.dim)
        ramp = self._ramp(theta)
        return theta * ((1 - ramp) / stretch + ramp)

    def _ramp(self, theta: Tensor) -> Tensor:
        """γ of every pair, (dim / 2,)."""
        if self.ramp == "turns":
            turns = self.train_length * theta / (2 * math.pi)
            return ((turns - YARN_LOW) / (YARN_HIGH - YARN_LOW)).clamp(0, 1)
        first = max(0, math.floor(self._pair_that_turns(YARN_HIGH)))
        last = min(self.dim - 1, math.ceil(self._pair_that_turns(YARN_LOW)))
        pair = torch.arange(len(theta), dtype=torch.float64)
        return 1 - ((pair - first) / max(last - first, 1e-3)).clamp(0, 1)

    def _pair_that_turns(self, times: float) -> float:
        """The number of the pair, not a whole one, that turns so often in the training length."""
        longest_turn = self.train_length / (2 * math.pi * times)
        return self.dim * math.log(longest_turn) / (2 * math.log(self.base))

    def stretch_at(self, length: int) -> float:
        """By how much the training length is stretched for a text of `length` tokens."""
        if self.scaling == "dynamic-ntk":
            return max(1.0, length / self.train_length)
        if self.scaling == "clex-start":
            return alpha(stretch_of(length, self.train_length))
        return self.stretch

    @property
    def temperature(self) -> float:
        """What YaRN multiplies both query and key with: `0.1 ln s + 1` (eq. 25); else 1."""
        if self.scaling != "yarn" or self.stretch <= 1:
            return 1.0
        return 0.1 * math.log(self.stretch) + 1

    def table(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """cos and sin of positions 0…length − 1, float32 (length, dim / 2) each."""
        position = torch.arange(length, dtype=torch.float64)
        cos, sin = angle_table(position, self.frequencies(length), self.temperature)
        return cos.to(device), sin.to(device)


def angle_table(
    position: Tensor, frequencies: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """cos and sin of places (L,) at frequencies (dim / 2,), both float64; float32 (L, dim / 2)."""
    angle = torch.outer(position, frequencies)
    return (angle.cos() * temperature).float(), (angle.sin() * temperature).float()


def rotate(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (B, H, L, D) by the angles of its positions; pairs are (d, d + D/2)."""
    first, second = vectors.float().chunk(2, dim=-1)
    turned = (first * cos - second * sin, first * sin + second * cos)
    return torch.cat(turned, dim=-1).to(vectors.dtype)
