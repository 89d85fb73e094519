"""What tells the tokens of a text apart: the angles of whatever turns queries and keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from freeatten_core.positions import clex, pope
from freeatten_core.positions.rope import Rope, angle_table

__all__ = ["Angles", "Clex", "Places", "Standing", "angles_at_rest", "angles_in_training"]

Angles = tuple[Tensor, Tensor]
"""cos and sin of every position, (L, D / 2) each; of `pope` (L, D)."""


class Places(NamedTuple):
    """What tells the positions of a text apart, kept by who reads many of one length."""

    angles: Mapping[str, Angles]
    """Of every kind of position that turns a head, by its name."""
    slopes: Tensor
    """What every head's scores lose by a token, (layers, H)."""


class Standing(NamedTuple):
    """Where a step of training puts the tokens of its texts; the same tensors, filled anew."""

    position: Tensor
    """Their places (L,), float64."""
    stretch: Tensor
    """t − 1, by how much more than the training length they reach, int64 (1,)."""
    turned: Tensor
    """Whether `drope` still rotates, bool (1,)."""


class Clex(nn.Module):
    """The learned part of CLEX's equation, one for the whole model."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(dim // 2, clex.WIDENING * dim))
        self.down = nn.Parameter(torch.empty(clex.WIDENING * dim, dim // 2))

    @torch.no_grad()
    def initialise(self, draw: torch.Generator) -> None:
        """As the authors': W_up uniform (Kaiming, a = √5), W_down 0, which is NTK scaling."""
        drawn = torch.rand(self.up.shape, generator=draw) * 2 - 1
        self.up.copy_(drawn / math.sqrt(self.up.shape[1]))
        self.down.zero_()

    def frequencies(self, base: float, stretch: int = clex.LARGEST_STRETCH) -> Tensor:
        """ω at t = 1 … `stretch`, float64 (stretch, D / 2)."""
        return clex.frequencies(self.up, self.down, base, stretch)


def angles_at_rest(
    kind: str, rope: Rope, learned: Clex | None, length: int, device: torch.device
) -> Angles:
    """Those of a kind for a text of `length` tokens.

    Args:
        rope: the model's, with what modifiers do to it.
        learned: of `clex`.
    """
    if kind == "yarn":
        stretched = replace(rope, stretch=clex.LARGEST_STRETCH, scaling="yarn", ramp="turns")
        return stretched.table(length, device)
    if kind == "drope":
        still = torch.zeros(length, rope.dim // 2, device=device)
        return torch.ones_like(still), still
    if kind == "pope":
        own = pope.frequencies(rope.dim, rope.base).to(device)
        return angle_table(torch.arange(length, dtype=torch.float64, device=device), own)
    if kind == "clex":
        assert learned is not None, "made with every layer of this kind"
        position = torch.arange(length, dtype=torch.float64, device=device)
        stretch = clex.stretch_of(length, rope.train_length)
        return angle_table(position, learned.frequencies(rope.base, stretch)[-1].to(device))
    assert kind in ("rope", "random"), f"{kind} has no angles here"
    return rope.table(length, device)


def angles_in_training(
    kind: str, rope: Rope, learned: Clex | None, standing: Standing, resting: Angles
) -> Angles:
    """Those of a kind for texts that stand elsewhere; gradients flow to what is learned."""
    if kind in ("random", "drope"):
        # made on the device: a graph that is captured takes no copy from the CPU
        plain = rope.frequencies(rope.train_length, standing.position.device)
        if kind == "random":
            return angle_table(standing.position, plain)
        cos, sin = angle_table(torch.ones_like(standing.position).cumsum(0) - 1, plain)
        return torch.where(standing.turned, cos, 1.0), torch.where(standing.turned, sin, 0.0)
    if kind == "clex":
        assert learned is not None, "made with every layer of this kind"
        chosen = learned.frequencies(rope.base).index_select(0, standing.stretch)[0]
        return angle_table(standing.position, chosen)
    return resting
