"""The zoomable map of one head: a pyramid of bytes for the far view, exact weights for the near.

Nothing of length × length is ever held. The rows' scalars (`RowStatistics`: with normaliser,
`u_max`, `O` and `R` saved, any weights can be recomputed at the cost of those weights alone) are
turned into one recipe, the same few operations for every variant (`recipe`); a region is then
recomputed from query and key in tiles (`tiles`) or read from the pyramid (`pyramid`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from threading import Lock
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.checks import check_range, check_whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Advance, Meter, ignore
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import NO_TERMS, Problem, ScoreTerms, check, visible_scores
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant

from ..capture import Capture
from .payload import Payload, as_numpy, to_half
from .pyramid import Pyramid, base_cell
from .recipe import BLOCK, RECIPE, Recipe
from .region import Pool, Region
from .scale import byte_scale
from .sticks import StickTiles
from .tiles import Tiles

__all__ = ["LEVEL_CELLS", "AttentionMap", "finest"]

LEVEL_CELLS, LEAST_CELL = 1024, 8
"""Cells along the finest level that a map carries at most, and tokens along such a cell at least;
closer views are recomputed by the page."""
MAX_CELLS = 4096


class AttentionMap:
    """The map of one layer's head; made by `build` or `of`.

    Attributes:
        variant: the stages whose weights it shows.
        query_length, key_length, is_causal: its size, Lq and Lk.
        pool: what a cell shows: the `max` of its weights (needles and sinks stay visible), or the
            `mean` over its visible pairs.
        scale: what the bytes mean.
        levels: the pyramid, uint8 (⌈Lq / c⌉, ⌈Lk / c⌉) by cell size c, finest first; made when it
            is first asked for, where `build` was told to leave it.
        base: tokens along a cell of the finest level.
        rows: row statistics, (Lq,) each.
        query, key: (Lq, D), (Lk, D), float32 (or float64).
        tokens, tokenizer_id, layer, head: where it is from, when known.
    """

    def __init__(
        self,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        rows: RowStatistics,
        terms: ScoreTerms,
        pool: Pool,
        origin: Mapping[str, Any],
    ) -> None:
        """Use `build`."""
        self.problem = problem
        self.variant = problem.variant
        self.query_length, self.key_length = problem.query_length, problem.key_length
        self.is_causal = problem.is_causal
        self.pool: Pool = pool
        self.query, self.key, self.rows, self.terms = query, key, rows, terms
        self.tokens: Tensor | None = origin.get("tokens")
        self.tokenizer_id: str | None = origin.get("tokenizer_id")
        self.layer: int | None = origin.get("layer")
        self.head: int | None = origin.get("head")
        recipe = Recipe.of(problem, query, key, rows, terms)
        self.scale = byte_scale(self.variant, rows)
        self.base = base_cell(self.query_length, self.key_length)
        tiles = StickTiles if problem.variant.needs_order else Tiles
        self._tiles = tiles(problem, query, key, terms, recipe, pool, self.base)
        self.recipe = self._tiles.recipe
        self._levels: dict[int, NDArray[np.uint8]] | None = None
        self._building = Lock()

    @classmethod
    def build(
        cls,
        query: Tensor,
        key: Tensor,
        variant: Variant | Stages | str,
        *,
        is_causal: bool = True,
        terms: ScoreTerms = NO_TERMS,
        window: int | None = None,
        softcap: float | None = None,
        rows: RowStatistics | None = None,
        pool: Pool = "max",
        tokens: Tensor | None = None,
        tokenizer_id: str | None = None,
        layer: int | None = None,
        head: int | None = None,
        far_view: bool = True,
        advance: Advance = ignore,
    ) -> AttentionMap:
        """The map of any one head, on any device.

        Args:
            query, key: (Lq, D), (Lk, D), after rotation; float32, or float64 if they are.
            variant: without modifiers.
            terms: what the score was given, of one head.
            window, softcap: keys that a row sees at most; the bound of scores before terms.
            rows: their row statistics, (Lq,) each, when known already; they cost most of the time.
            pool: `max` or `mean`.
            tokens: (Lk,), and the id of the tokenizer that cut them: needed for differences.
            far_view: make the pyramid now, which needs every weight.
            advance: called with (scores done, scores in all); an exception in it cancels.

        Raises:
            UsageError: an unknown pool, or tokens that do not fit the keys.
            TypeError, ValueError: as `freeatten_core.attention`.
        """
        _check_kinds(pool, query, key, tokens)
        query, key = _wide(query), _wide(key)
        terms = terms.map(lambda each: each.detach())
        problem = check(
            *(query[None, None], key[None, None], None, variant),
            is_causal=is_causal,
            enable_gqa=False,
            terms=terms,
            window=window,
            softcap=softcap,
        )
        _check_tokens(tokens, len(key))
        scores = visible_scores(problem)
        meter = Meter(scores if rows is not None else 2 * scores, advance)
        if rows is None:
            rows = _row_statistics(problem, query, key, terms, meter)
        rows = rows.map(lambda each: each.to(query))
        origin = {"tokens": tokens, "tokenizer_id": tokenizer_id, "layer": layer, "head": head}
        made = cls(problem, query, key, rows, terms, pool, origin)
        if far_view:
            made.make_far_view(meter.add)
        meter.finish()
        return made

    @classmethod
    def of(
        cls,
        capture: Capture,
        layer: int,
        head: int,
        *,
        pool: Pool = "max",
        far_view: bool = True,
        advance: Advance = ignore,
    ) -> AttentionMap:
        """The map of a captured head; arguments as of `build`.

        Raises:
            UsageError: a layer that was not captured, or a head that does not exist.
        """
        query, key = capture.head(layer, head)
        found = capture.layer(layer)
        rows = found.rows
        return cls.build(
            query,
            key,
            capture.weighed_by,
            terms=found.terms.of_head(head),
            window=found.window,
            softcap=found.softcap,
            rows=None if rows is None else rows.map(lambda tensor: tensor[head]),
            pool=pool,
            tokens=capture.tokens,
            tokenizer_id=capture.tokenizer_id,
            layer=layer,
            head=head,
            far_view=far_view,
            advance=advance,
        )

    @property
    def levels(self) -> Mapping[int, NDArray[np.uint8]]:
        return self.make_far_view(lambda _: None)

    def make_far_view(self, advance: Callable[[int], None]) -> Mapping[int, NDArray[np.uint8]]:
        """The levels, made by the first of those that ask; `advance`: how many more scores."""
        with self._building:
            if self._levels is None:
                self._levels = Pyramid(self._tiles, self.scale, advance).levels
            return self._levels

    @property
    def has_far_view(self) -> bool:
        """Whether the pyramid is made."""
        return self._levels is not None

    @property
    def far_view_bytes(self) -> int:
        """What the levels take, made or not."""
        sides, size = (self.query_length, self.key_length), 0
        cell = self.base
        while True:
            rows, columns = (-(-side // cell) for side in sides)
            size += rows * columns
            if max(rows, columns) == 1:
                return size
            cell *= 2

    def needs_far_view(self, q0: int, q1: int, k0: int, k1: int, cells: int = 512) -> bool:
        """Whether `region` of the same reads the pyramid.

        Raises:
            UsageError: as `region`.
        """
        return self._bounds(q0, q1, k0, k1, cells)[-1] >= self.base

    def region(self, q0: int, q1: int, k0: int, k1: int, cells: int = 512) -> Region:
        """Queries q0…q1 and keys k0…k1, in at most `cells + 1` cells along each axis.

        The cell is the smallest power of two with which the longer side takes `cells` cells.
        Cells smaller than those of the pyramid's finest level (4 tokens up to 32k) are recomputed
        exactly from query and key, others are read from the pyramid.

        Raises:
            UsageError: a range that is empty, reversed, outside or not whole numbers; `cells`
                out of 1 to 4096. The message names the bounds.
        """
        q0, q1, k0, k1, cell = self._bounds(q0, q1, k0, k1, cells)
        top, left = q0 // cell, k0 // cell
        bottom, right = -(-q1 // cell), -(-k1 // cell)
        weights = None
        if cell < self.base:
            exact = self._tiles.cells(top * cell, bottom * cell, left * cell, right * cell, cell)
            codes = self.scale.encode(exact).cpu().numpy()
            weights = exact.float().cpu().numpy()
        else:
            codes = self.levels[cell][top:bottom, left:right].copy()
        return self._region(top * cell, left * cell, cell, codes, weights)

    def preview(self, cells: int = 256) -> Region:
        """The whole map from the last `base` rows of every row of cells, as long as the pyramid is
        not made: one 32nd of the weights at 32k tokens. No cell shows more than it has.

        Raises:
            UsageError: `cells` out of 1 to 4096.
        """
        *_, cell = self._bounds(0, self.query_length, 0, self.key_length, cells)
        if cell <= self.base or self.pool != "max" or self.has_far_view:
            return self.region(0, self.query_length, 0, self.key_length, cells)
        tiles, base, per = self._tiles, self.base, cell // self.base
        seen = tiles.zeros(-(-self.query_length // cell), -(-self.key_length // cell))
        for row, cells_of_row in enumerate(seen):
            q1 = min((row + 1) * cell, tiles.rows)
            until = tiles.visible_until(min(q1, self.query_length) - 1)
            columns = -(-max(1, until) // base)
            found = tiles.tile(q1 - base, q1, 0, columns * base, base)[0]
            found = torch.nn.functional.pad(found, (0, -columns % per)).view(-1, per).amax(1)
            cells_of_row[: len(found)] = found
        return self._region(0, 0, cell, self.scale.encode(seen).cpu().numpy(), None)

    def _bounds(
        self, q0: int, q1: int, k0: int, k1: int, cells: int
    ) -> tuple[int, int, int, int, int]:
        """Checked bounds, and the cell with which they take `cells` cells."""
        q0, q1 = check_range("query", q0, q1, self.query_length)
        k0, k1 = check_range("key", k0, k1, self.key_length)
        cells = check_whole("cells", cells, 1, MAX_CELLS)
        cell = 1
        while max(q1 - q0, k1 - k0) > cells * cell:
            cell *= 2
        return q0, q1, k0, k1, cell

    def _region(
        self,
        query_start: int,
        key_start: int,
        cell: int,
        codes: NDArray[np.uint8],
        weights: NDArray[np.float32] | None,
    ) -> Region:
        return Region(
            query_start=query_start,
            key_start=key_start,
            cell=cell,
            codes=codes,
            weights=weights,
            pool=self.pool,
            scale=self.scale,
            query_length=self.query_length,
            key_length=self.key_length,
            window=self.problem.window,
        )

    def weights(self, q0: int, q1: int, k0: int, k1: int) -> Tensor:
        """Exact weights (q1 − q0, k1 − k0), whatever the size.

        Raises:
            UsageError: as `region`.
        """
        q0, q1 = check_range("query", q0, q1, self.query_length)
        k0, k1 = check_range("key", k0, k1, self.key_length)
        return self._tiles.cells(q0, q1, k0, k1, 1)

    def strongest(
        self, position: int, count: int = 10, *, keys: tuple[int, int] | None = None
    ) -> list[tuple[int, float]]:
        """(key position, weight) of a row's largest weights, largest first, zeros left out.

        Args:
            keys: only those from the first to before the second; all by default.

        Raises:
            UsageError: a position or keys outside the map, a count below 1.
        """
        start, stop = check_range("key", *(keys or (0, self.key_length)), self.key_length)
        position = check_whole("position", position, 0, self.query_length - 1)
        count = check_whole("count", count, 1, None)
        row = self._tiles.cells(position, position + 1, start, stop, 1)[0]
        values, found = row.topk(min(count, len(row)))
        pairs = zip(found.tolist(), values.tolist(), strict=True)
        return [(start + key, value) for key, value in pairs if value > 0]

    def to_payload(self, finest_cell: int | None = None, *, advance: Advance = ignore) -> Payload:
        """The map as plain arrays; see `Payload`.

        About `256·L` bytes for query and key of 64 dimensions, 64·L for the rows, L²/12 for the
        pyramid: 8 MB at 8k tokens. The map is built once more, from the rounded vectors.

        Args:
            finest_cell: leave out finer levels (they can be recomputed): 16 divides a map of 32k
                tokens from 100 MB to 16 MB.

        Raises:
            UsageError: `finest_cell` is not a level; the message lists them.
        """
        finest = self.base if finest_cell is None else finest_cell
        if finest not in self.levels:
            raise UsageError(f"finest_cell is {finest}; it can be {_listed(self.levels)}")
        query, query_power = to_half(self.query)
        key, key_power = to_half(self.key)
        rounded = AttentionMap.build(
            query.float() * query_power,
            key.float() * key_power,
            self.variant,
            is_causal=self.is_causal,
            terms=self.terms,
            window=self.problem.window,
            softcap=self.problem.softcap,
            pool=self.pool,
            advance=advance,
        )
        arrays = {"query": as_numpy(query), "key": as_numpy(key)}
        arrays |= _recipe_arrays(rounded.recipe, query_power * key_power)
        if self.tokens is not None:
            arrays["tokens"] = self.tokens.cpu().numpy().astype(np.int32)
        for field in fields(RowStatistics):
            arrays[f"rows_{field.name}"] = as_numpy(getattr(rounded.rows, field.name))
        kept = {cell: level for cell, level in rounded.levels.items() if cell >= finest}
        arrays |= {f"level_{cell}": level for cell, level in kept.items()}
        metadata = {
            "format": 1,
            "variant": str(self.variant),
            "positivity": rounded.recipe.positivity,
            "power": rounded.recipe.power,
            "softcap": self.problem.softcap,
            "block": None if rounded.recipe.carry is None else BLOCK,
            "query_length": self.query_length,
            "key_length": self.key_length,
            "dim": self.problem.dim,
            "is_causal": self.is_causal,
            "pool": self.pool,
            "cells": list(kept),
            "floor_log2": rounded.scale.floor_log2,
            "top_log2": rounded.scale.top_log2,
            "tokenizer_id": self.tokenizer_id,
            "layer": self.layer,
            "head": self.head,
        }
        return Payload(arrays, metadata)


def _check_kinds(pool: object, query: object, key: object, tokens: object) -> None:
    if pool not in get_args(Pool):
        raise UsageError(f"pool is {pool!r}; it can be {', '.join(get_args(Pool))}")
    for name, tensor in {"query": query, "key": key, "tokens": tokens}.items():
        if not isinstance(tensor, Tensor) and (name != "tokens" or tensor is not None):
            raise UsageError(f"{name} is a {type(tensor).__name__}; it must be a tensor")


def _wide(vectors: Tensor) -> Tensor:
    """In the type that is computed in."""
    is_double = vectors.dtype == torch.float64
    return vectors.detach().to(torch.float64 if is_double else torch.float32)


def _check_tokens(tokens: Tensor | None, keys: int) -> None:
    if tokens is not None and tokens.shape != (keys,):
        raise UsageError(f"tokens has shape {tuple(tokens.shape)}; it must be ({keys},), one a key")


def _row_statistics(
    problem: Problem, query: Tensor, key: Tensor, terms: ScoreTerms, meter: Meter
) -> RowStatistics:
    """(Lq,) each, of query (Lq, D) and key (Lk, D)."""
    found = choice.row_statistics(
        problem, query[None, None], key[None, None], terms, advance=meter.add
    )
    return found.map(lambda tensor: tensor[0, 0])


def _recipe_arrays(recipe: Recipe, power: float) -> dict[str, NDArray[Any]]:
    """A recipe as arrays, for vectors whose products have to be multiplied with `power`."""
    arrays = {name: as_numpy(getattr(recipe, name)) for name in RECIPE}
    arrays["scale"] = as_numpy(recipe.scale * power)
    arrays["key_scale"] = as_numpy(recipe.key_scale)
    arrays["last"] = recipe.last.cpu().numpy().astype(np.int32)
    if recipe.first is not None:
        arrays["first"] = recipe.first.cpu().numpy().astype(np.int32)
    if recipe.by_distance is not None:
        arrays["by_distance"] = as_numpy(recipe.by_distance)
    if recipe.decay is not None:
        arrays["decay"] = as_numpy(recipe.decay)
    if recipe.carry is not None:
        arrays["carry"] = as_numpy(recipe.carry)
    return arrays


def _listed(levels: Mapping[int, object]) -> str:
    return ", ".join(str(cell) for cell in levels)


def finest(attention: AttentionMap) -> int:
    """The cell of the finest level that a map carries."""
    least = max(LEAST_CELL, attention.query_length / LEVEL_CELLS)
    return next(cell for cell in attention.levels if cell >= least)
