"""The near view: exact weights of any part of a map, recomputed from query and key, in cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from freeatten_core.basics.powers import power_
from freeatten_core.basics.precision import without_autocast
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import LOG2_E, Problem, ScoreTerms

from .recipe import Recipe
from .region import Pool

__all__ = ["Apart", "Tiles"]

Apart = Callable[[Tensor], Tensor]
"""From what all rows have to what some have, those of one cell apart."""

TILE = 1 << 18
"""Weights of a region computed at once."""


class Tiles:
    """Weights of one head by its recipe, pooled to square cells.

    Attributes:
        base: the cell up to which rows and keys are padded; a tile is of whole cells of at most
            so many tokens.
        recipe: what turns a score into a weight.
        rows, keys: how many there are with the padding.
        pool: how the weights of a cell become one.
    """

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
        """query (Lq, D), key (Lk, D)."""
        self.problem, self.variant, self.pool, self.base = problem, problem.variant, pool, base
        self.recipe = recipe
        self._terms_are_empty = terms.is_empty
        self._prepare(query, key, recipe)
        self.rows, self.keys = len(self._query), len(self._key)

    def _prepare(self, query: Tensor, key: Tensor, recipe: Recipe) -> None:
        """Query and key with every factor on them, and the recipe, padded to whole base cells.

        Padded rows and keys are hidden: their `last` is −1, their position beyond every `last`.
        """
        exponential = recipe.positivity == "exp"  # its scores are shifted, whatever they are
        # a third of the time of `e^x` and softplus
        self._base_2 = exponential or (self.problem.takes_base_2 and self._terms_are_empty)
        unit = LOG2_E if self._base_2 else 1.0

        def padded(tensor: Tensor, fill: float = 0) -> Tensor:
            size = -len(tensor) % self.base
            return torch.cat([tensor, tensor.new_full((size, *tensor.shape[1:]), fill)])

        self._query = padded(query * (recipe.scale * unit)[:, None])
        self._key = padded(key * recipe.key_scale[:, None])
        self._bias = padded(recipe.bias * unit)
        self._has_bias = bool((self._bias != 0).any())
        self._gain, self._rise = padded(recipe.gain), padded(recipe.rise)
        self._out, self._last = padded(recipe.out), padded(recipe.last, -1)
        self._first = None if recipe.first is None else padded(recipe.first)
        table = recipe.by_distance
        self._by_distance = None if table is None else table * unit
        decay = recipe.decay
        self._decay = None if decay is None else padded(decay)
        self._own_decay = None if decay is None else padded(decay[recipe.last.clamp(min=0)])

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros where the weights are computed, in their type unless another is named."""
        return self._query.new_zeros(shape, dtype=dtype)

    def visible_until(self, row: int) -> int:
        """One past the last key that a row sees; 0 for padded rows."""
        problem = self.problem
        if row >= problem.query_length:
            return 0
        if not problem.is_causal:
            return problem.key_length
        return max(0, row + 1 + problem.key_length - problem.query_length)

    def visible_from(self, row: int) -> int:
        """The first key that a row sees."""
        return 0 if self._first is None else int(self._first[row])

    def cells(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """Pooled exact weights of whole cells, (rows, columns); computed TILE weights at a time."""
        step = max(1, TILE // max(1, k1 - k0) // cell) * cell
        tiles = []
        for start in range(q0, q1, step):
            stop = min(q1, start + step)
            tile = self.tile(start, stop, k0, k1, cell)
            if self.pool == "mean":
                tile = tile / self.visible_pairs(start, stop, k0, k1, cell).clamp(min=1)
            tiles.append(tile)
        return tiles[0].contiguous() if len(tiles) == 1 else torch.cat(tiles)

    @without_autocast()
    def tile(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """Max or sum of the exact weights of every cell, (rows, columns).

        Keys run along the first dimension, rows along the second, and rows of one cell lie apart:
        every pooling is then over a dimension that is not the last, in long contiguous runs.
        """
        rows, keys, groups = q1 - q0, k1 - k0, (q1 - q0) // cell
        apart = self._apart(q0, q1, cell)
        panel = self._scores(q0, q1, k0, k1, apart)
        kept = None if self.variant.positivity == "exp" else self._fallen(k0, k1, apart)
        if self.pool == "max" and cell > 1 and kept is None:
            panel = panel.view(keys // cell, cell, rows).amax(1)
        if self._has_bias:
            panel += apart(self._bias)
        weights = self._weigh_(panel, apart, kept)
        if cell == 1:
            return weights.mT
        if self.pool == "max":
            if kept is not None:
                weights = weights.view(keys // cell, cell, rows).amax(1)
            return weights.view(-1, cell, groups).amax(1).mT
        return weights.view(keys // cell, cell * cell, groups).sum(1).mT

    @staticmethod
    def _apart(q0: int, q1: int, cell: int) -> Apart:
        """From what all rows have to what rows q0…q1 have, those of one cell apart."""

        def apart(tensor: Tensor) -> Tensor:
            part = tensor[q0:q1]
            if cell == 1:
                return part
            split = part.view((q1 - q0) // cell, cell, *part.shape[1:])
            return split.transpose(0, 1).flatten(0, 1)

        return apart

    def _scores(self, q0: int, q1: int, k0: int, k1: int, apart: Apart) -> Tensor:
        """Scores less the rows' bias, (keys, rows); −inf where a row does not see a key."""
        panel = self._key[k0:k1] @ apart(self._query).mT
        if self.problem.softcap is not None:
            bound = self.problem.softcap * (LOG2_E if self._base_2 else 1.0)
            panel.div_(bound).tanh_().mul_(bound)
        positions = torch.arange(k0, k1, device=panel.device)[:, None]
        if self._by_distance is not None:
            distance = (apart(self._last) - positions).clamp_(0, len(self._by_distance) - 1)
            panel += self._by_distance[distance]
        fallen = self._fallen(k0, k1, apart)
        if fallen is not None and self.variant.positivity == "exp":
            panel += fallen * (LOG2_E if self._base_2 else 1.0)
        seen = min(self.visible_until(q0), self.visible_until(q1 - 1))
        if seen < k1:
            low = max(k0, seen)
            hidden = positions[low - k0 :] > apart(self._last)
            panel[low - k0 :].masked_fill_(hidden, -torch.inf)
        if self._first is not None:
            panel.masked_fill_(positions < apart(self._first), -torch.inf)
        return panel

    def _fallen(self, k0: int, k1: int, apart: Apart) -> Tensor | None:
        """`c_i − c_j` (keys, rows), at most 0; None where nothing is forgotten."""
        if self._decay is None or self._own_decay is None:
            return None
        return (apart(self._own_decay) - self._decay[k0:k1, None]).clamp_(max=0)

    def _weigh_(self, panel: Tensor, apart: Apart, fallen: Tensor | None) -> Tensor:
        """Weights of a panel of scores (keys, rows), which is overwritten; −inf gives 0."""
        panel = choice.positive_(self.recipe.positivity, panel, base_2=self._base_2)
        if fallen is not None:
            panel *= fallen.exp()
        panel *= apart(self._gain)
        if self.recipe.power is None:
            return panel
        panel.sub_(apart(self._rise)).clamp_(min=0)
        weights, _ = power_(panel, self.recipe.power, torch.empty_like(panel))
        return weights.mul_(apart(self._out))

    def visible_pairs(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """How many (query, key) pairs of every cell are visible, (rows, columns)."""
        keys = torch.arange(k0, k1, cell, device=self._last.device)
        ends = self._last[q0:q1].view(-1, cell) + 1
        count = self._query.new_zeros(len(ends), len(keys))
        for row in range(cell):
            count += (ends[:, row, None] - keys).clamp_(0, cell)
            if self._first is not None:
                first = self._first[q0:q1].view(-1, cell)
                count -= (first[:, row, None] - keys).clamp_(0, cell)
        return count
