"""The near view of stick-breaking: a key's weight goes on from what the nearer keys left."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from freeatten_core.basics.precision import without_autocast
from freeatten_core.ops.call import Problem, ScoreTerms

from .recipe import BLOCK, Recipe
from .region import Pool
from .tiles import Apart, Tiles

__all__ = ["StickTiles"]

ROWS = 128
"""Rows that are carried along all keys at once."""


class StickTiles(Tiles):
    """Weights of a stick-breaking head; a tile takes up to BLOCK keys more than it shows."""

    def __init__(
        self,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        terms: ScoreTerms,
        recipe: Recipe,
        pool: Pool,
        base: int,
    ) -> None:
        """As `Tiles`; the recipe has no carry yet."""
        super().__init__(problem, query, key, terms, recipe, pool, base)
        self._carry, self._rest = self._carried()
        length = problem.query_length
        self.recipe = replace(recipe, carry=self._carry[:length], out=self._rest[:length])

    @without_autocast()
    def _carried(self) -> tuple[Tensor, Tensor]:
        """`carry` and `out` of the recipe, for padded rows too."""
        blocks = -(-self.keys // BLOCK)
        carry, rest = self.zeros(self.rows, blocks), self.zeros(self.rows)
        step = max(ROWS, self.base)
        for q0 in range(0, self.rows, step):
            q1 = min(self.rows, q0 + step)
            passed = rest[q0:q1]  # a view, filled as the keys are passed
            for block in reversed(range(blocks)):
                k0, k1 = block * BLOCK, min(self.keys, (block + 1) * BLOCK)
                carry[q0:q1, block] = passed
                if k0 < self.visible_until(min(q1, self.problem.query_length) - 1):
                    passed -= self._left(self._shares(q0, q1, k0, k1, 1)).sum(0)
        return carry, rest.exp_()

    @without_autocast()
    def tile(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        end = min(self.keys, -(-k1 // BLOCK) * BLOCK)
        apart = self._apart(q0, q1, cell)
        score = self._shares(q0, q1, k0, end, cell)
        passed = self._left(score).flip(0).cumsum(0).flip(0)
        score += apart(self._carry[:, (end - 1) // BLOCK]) - passed
        weights = torch.where(self._own(k0, end, apart), apart(self._rest), score.exp_())
        weights = weights[: k1 - k0]
        if cell == 1:
            return weights.mT
        split = weights.view((k1 - k0) // cell, cell * cell, (q1 - q0) // cell)
        return (split.amax(1) if self.pool == "max" else split.sum(1)).mT

    def _shares(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """Scores (keys, rows); −inf on a row's own key and on those that it does not see."""
        apart = self._apart(q0, q1, cell)
        score = self._scores(q0, q1, k0, k1, apart) + apart(self._bias)
        return score.masked_fill_(self._own(k0, k1, apart), -torch.inf)

    def _own(self, k0: int, k1: int, apart: Apart) -> Tensor:
        return torch.arange(k0, k1, device=self._last.device)[:, None] == apart(self._last)

    @staticmethod
    def _left(score: Tensor) -> Tensor:
        """`log(1 + e^s)`: minus the logarithm of what a key leaves."""
        return torch.logaddexp(score, score.new_zeros(()))
