"""Attention to keys farther back than any that the model met in training, made familiar."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from freeatten_core.positions.rope import Rope, rotate

from ...call import Familiar, Problem
from . import forward
from .operands import Operands
from .panel import Block, Workspace

__all__ = ["familiar_attention"]


def familiar_attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, familiar: Familiar
) -> Tensor:
    """The output of a checked causal call with far keys made familiar, (B, H, Lq, Dv)."""
    trained = familiar.rope.train_length
    if familiar.rotation:
        operands: Operands = _FamiliarRotation(problem, query, key, familiar.rope, trained - 1)
    else:
        operands = Operands(problem, query, key)
    if familiar.scale:
        operands.scale = _other_scale(problem, operands.count, trained)
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
        length, theta = problem.key_length, rope.frequencies(problem.key_length)
        position = torch.arange(length)
        own = position[length - problem.query_length :]  # queries are the last tokens
        far_query, far_key = _turn(query, distance - own, theta), _turn(key, -position, theta)
        self.far = Operands(problem, far_query, far_key)

    def scores(self, block: Block, workspace: Workspace, name: str) -> Tensor:
        panel = super().scores(block, workspace, name)
        if block.stop - 1 - block.low <= self.distance:
            return panel
        far = self.far.scores(block, workspace, f"{name} far")
        beyond = self.last_key(block) - self.keys(block) > self.distance
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
