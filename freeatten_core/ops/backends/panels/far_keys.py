"""Attention to keys farther back than any that the model met in training, made familiar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from freeatten_core.positions.rope import Rope, rotate
from freeatten_core.variants.variant import Variant

from ...call import Problem, check
from . import forward
from .panel import Block, Operands, Workspace

if TYPE_CHECKING:
    from ...call import Attend


def undone(rope: Rope, train_length: int, *, rotation: bool, scale: bool) -> Attend:
    """Attention with the rotation of far keys, or the growth of the score with N, undone.

    Undoing the rotation alone is ReRoPE (Su 2023) with a window of `train_length`.
    """

    return _Undone(rope, train_length, rotation, scale)


@dataclass(frozen=True)
class _Undone:
    """A class and not a closure, so that a model under `rerope` can be pickled."""

    rope: Rope
    train_length: int
    rotation: bool
    scale: bool

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, variant: Variant) -> Tensor:
        problem = check(query, key, value, variant, is_causal=True, enable_gqa=True)
        if self.rotation:
            distance = self.train_length - 1
            operands: Operands = _FamiliarRotation(problem, query, key, self.rope, distance)
        else:
            operands = Operands(problem, query, key)
        if self.scale:
            operands.scale = _other_scale(problem, operands.count, self.train_length)
            if isinstance(operands, _FamiliarRotation):
                operands.far.scale = operands.scale
        return forward.forward(operands, value)[0]


class _FamiliarRotation(Operands):
    """Queries and keys whose scores beyond a distance are as if they were that far apart."""

    def __init__(
        self, problem: Problem, query: Tensor, key: Tensor, rope: Rope, distance: int
    ) -> None:
        super().__init__(problem, query, key)
        self.distance = distance
        position = torch.arange(problem.key_length)
        theta = rope.frequencies(problem.key_length)
        far_query, far_key = _turn(query, distance - position, theta), _turn(key, -position, theta)
        self.far = Operands(problem, far_query, far_key)

    def scores(self, block: Block, workspace: Workspace, name: str) -> Tensor:
        panel = super().scores(block, workspace, name)
        if block.stop - 1 - block.low <= self.distance:
            return panel
        far = self.far.scores(block, workspace, f"{name} far")
        beyond = self._last_key(block) - self._keys(block) > self.distance
        return torch.where(beyond, far, panel, out=panel)


def _turn(vectors: Tensor, steps: Tensor, theta: Tensor) -> Tensor:
    """Rotate (B, H, L, D) on by so many positions each, steps (L,)."""
    angle = torch.outer(steps.double(), theta)
    cos, sin = (part.float().to(vectors.device) for part in (angle.cos(), angle.sin()))
    return rotate(vectors, cos, sin)


def _other_scale(problem: Problem, count: Tensor, train_length: int) -> Tensor:
    """What a row multiplies its scores by when the growth with N is the other one, (L,).

    A bias that depends on N, as sigmoid's −log N, is not among it.
    """
    known = count.clamp(max=train_length)
    if problem.scale_slope:
        return problem.score_scale(known)
    growth = count.clamp(min=train_length).log() / math.log(train_length)
    return problem.score_scale(count) * growth
