"""The zoomable map of one head: a pyramid of bytes for the far view, exact weights for the near.

Nothing of length × length is ever held. The rows' scalars (`RowStatistics`: with normaliser,
`u_max`, `O` and `R` saved, any weights can be recomputed at the cost of those weights alone) are
turned into one *recipe*, the same few operations for every variant:

    s = scale[i] · key_scale[j] · (query[i] · key[j]) + bias[i] + by_distance[last[i] − j]
    f = e^s  |  log(1 + e^s)  |  1 / (1 + e^−s)  |  max(s, 0)         by the positivity
    w = gain[i] · f                                                   without sharpening
    w = out[i] · max(0, gain[i] · f − rise[i])^p                      with sharpening by p
    w = 0  where  j > last[i]  or  j < first[i]

`Payload` carries exactly these arrays, so a page needs no other formula; `Payload.weights` is the
reference for it. The recipe in terms of the variant's stages (N visible keys, S normaliser):

    scale      1/√D, or log D · log N / max(‖q‖, 1e-6) for `length-cosine` (and its ablations);
               times the head's scale, if it has one
    key_scale  1, or 1 / max(‖k‖, 1e-6) for cosines
    bias       −log Σ e^s for `exp` with `l1`, −log N for `dot-log-n`, their sum for both, else 0
    gain       1/S for `l1` (1 for `exp`, whose S is in the bias), 1/N for `count`, 1 for `none`;
               with sharpening times N / u_max
    rise, out  O / u_max and 1 / R
    by_distance  what slope and bias add at distance 0, 1, …; its last entry beyond; absent where
               there is neither
    first      the first key that a row sees; absent without a window

Max pooling commutes with all of it, since a row's weight never falls as its score rises: scores
are pooled first, and the elementwise work shrinks by the size of the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.checks import check_range, check_whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.powers import power_
from freeatten_core.basics.precision import without_autocast
from freeatten_core.basics.progress import Advance, Meter, ignore
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import (
    LARGEST_EXPONENT,
    LOG2_E,
    NO_TERMS,
    Problem,
    ScoreTerms,
    check,
    visible_scores,
)
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant

from ..capture import Capture
from .payload import Payload, as_numpy, to_half
from .recipe import RECIPE, Recipe
from .region import Pool, Region
from .scale import byte_scale

LEVEL_CELLS, LEAST_CELL = 1024, 8
"""Cells along the finest level that a map carries at most, and tokens along such a cell at least;
closer views are recomputed by the page."""


BASE_CELL = 4
"""Tokens along a cell of the finest level kept: 1/16 byte a weight, and as much as a third again
for the coarser levels (89 MB at 32k tokens)."""
BASE_SIDE = 8192
"""Cells along the finest level at most; a longer map starts with larger cells."""
ROWS, KEYS = 128, 4096
"""Rows and keys of the panel that is pooled at once: 2 MB."""
TILE = 1 << 18
"""Weights of a region computed at once."""
MAX_CELLS = 4096


class AttentionMap:
    """The map of one layer's head; made by `build` or `of`.

    Attributes:
        variant: the stages whose weights it shows.
        query_length, key_length, is_causal: its size, Lq and Lk.
        pool: what a cell shows: the `max` of its weights (needles and sinks stay visible), or the
            `mean` over its visible pairs.
        scale: what the bytes mean.
        levels: the pyramid, uint8 (⌈Lq / c⌉, ⌈Lk / c⌉) by cell size c, finest first.
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
        advance: Callable[[int], None],
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
        self.recipe = Recipe.of(problem, query, key, rows, terms)
        self.scale = byte_scale(self.variant, rows)
        self._base = BASE_CELL
        while max(self.query_length, self.key_length) > BASE_SIDE * self._base:
            self._base *= 2
        self._prepare()
        self.levels: dict[int, NDArray[np.uint8]] = {}
        self._build_levels(advance)

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
        rows: RowStatistics | None = None,
        pool: Pool = "max",
        tokens: Tensor | None = None,
        tokenizer_id: str | None = None,
        layer: int | None = None,
        head: int | None = None,
        advance: Advance = ignore,
    ) -> AttentionMap:
        """The map of any one head, on any device.

        Args:
            query, key: (Lq, D), (Lk, D), after rotation; computed in float32, or in float64 if
                they are.
            variant: without modifiers.
            terms: what the score was given, of one head.
            window: a row sees at most this many keys.
            rows: their row statistics, (Lq,) each, when known already; they cost most of the time.
            pool: `max` or `mean`.
            tokens: (Lk,), and the id of the tokenizer that cut them: needed for differences.
            advance: called with (scores done, scores in all); an exception in it cancels.

        Raises:
            UsageError: an unknown pool, or tokens that do not fit the keys.
            TypeError, ValueError: as `freeatten_core.attention`.
        """
        if pool not in get_args(Pool):
            raise UsageError(f"pool is {pool!r}; it can be {', '.join(get_args(Pool))}")
        for name, tensor in {"query": query, "key": key, "tokens": tokens}.items():
            if not isinstance(tensor, Tensor) and (name != "tokens" or tensor is not None):
                raise UsageError(f"{name} is a {type(tensor).__name__}; it must be a tensor")
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        query, key = query.detach().to(wide), key.detach().to(wide)
        terms = terms.map(lambda each: each.detach())
        problem = check(
            query[None, None],
            key[None, None],
            None,
            variant,
            is_causal=is_causal,
            enable_gqa=False,
            terms=terms,
            window=window,
        )
        if tokens is not None and tokens.shape != (len(key),):
            raise UsageError(
                f"tokens has shape {tuple(tokens.shape)}; it must be ({len(key)},), one a key"
            )
        scores = visible_scores(problem)
        meter = Meter(scores if rows is not None else 2 * scores, advance)
        if rows is None:
            found = choice.row_statistics(
                problem, query[None, None], key[None, None], terms, advance=meter.add
            )
            rows = found.map(lambda tensor: tensor[0, 0])
        origin = {"tokens": tokens, "tokenizer_id": tokenizer_id, "layer": layer, "head": head}
        rows = rows.map(lambda each: each.to(query))
        made = cls(problem, query, key, rows, terms, pool, origin, meter.add)
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
        advance: Advance = ignore,
    ) -> AttentionMap:
        """The map of a captured head.

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
            rows=None if rows is None else rows.map(lambda tensor: tensor[head]),
            pool=pool,
            tokens=capture.tokens,
            tokenizer_id=capture.tokenizer_id,
            layer=layer,
            head=head,
            advance=advance,
        )

    def region(self, q0: int, q1: int, k0: int, k1: int, cells: int = 512) -> Region:
        """Queries q0…q1 and keys k0…k1, in at most `cells + 1` cells along each axis.

        The cell is the smallest power of two with which the longer side takes `cells` cells.
        Cells smaller than those of the pyramid's finest level (4 tokens up to 32k) are recomputed
        exactly from query and key, others are read from the pyramid.

        Raises:
            UsageError: a range that is empty, reversed, outside or not whole numbers; `cells`
                out of 1 to 4096. The message names the bounds.
        """
        q0, q1 = check_range("query", q0, q1, self.query_length)
        k0, k1 = check_range("key", k0, k1, self.key_length)
        cells = check_whole("cells", cells, 1, MAX_CELLS)
        cell = 1
        while max(q1 - q0, k1 - k0) > cells * cell:
            cell *= 2
        top, left = q0 // cell, k0 // cell
        bottom, right = -(-q1 // cell), -(-k1 // cell)
        weights = None
        if cell < self._base:
            exact = self._cells(top * cell, bottom * cell, left * cell, right * cell, cell)
            codes = self.scale.encode(exact).cpu().numpy()
            weights = exact.float().cpu().numpy()
        else:
            codes = self.levels[cell][top:bottom, left:right].copy()
        return Region(
            query_start=top * cell,
            key_start=left * cell,
            cell=cell,
            codes=codes,
            weights=weights,
            pool=self.pool,
            scale=self.scale,
            query_length=self.query_length,
            key_length=self.key_length,
        )

    def weights(self, q0: int, q1: int, k0: int, k1: int) -> Tensor:
        """Exact weights (q1 − q0, k1 − k0), whatever the size.

        Raises:
            UsageError: as `region`.
        """
        q0, q1 = check_range("query", q0, q1, self.query_length)
        k0, k1 = check_range("key", k0, k1, self.key_length)
        return self._cells(q0, q1, k0, k1, 1)

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
        row = self._cells(position, position + 1, start, stop, 1)[0]
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
        finest = self._base if finest_cell is None else finest_cell
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
            pool=self.pool,
            advance=advance,
        )
        recipe = rounded.recipe
        arrays: dict[str, NDArray[Any]] = {"query": as_numpy(query), "key": as_numpy(key)}
        arrays |= {name: as_numpy(getattr(recipe, name)) for name in RECIPE}
        arrays["scale"] = as_numpy(recipe.scale * (query_power * key_power))
        arrays["key_scale"] = as_numpy(recipe.key_scale)
        arrays["last"] = recipe.last.cpu().numpy().astype(np.int32)
        if recipe.first is not None:
            arrays["first"] = recipe.first.cpu().numpy().astype(np.int32)
        if recipe.by_distance is not None:
            arrays["by_distance"] = as_numpy(recipe.by_distance)
        if self.tokens is not None:
            arrays["tokens"] = self.tokens.cpu().numpy().astype(np.int32)
        for field in fields(RowStatistics):
            arrays[f"rows_{field.name}"] = as_numpy(getattr(rounded.rows, field.name))
        kept = {cell: level for cell, level in rounded.levels.items() if cell >= finest}
        arrays |= {f"level_{cell}": level for cell, level in kept.items()}
        metadata = {
            "format": 1,
            "variant": str(self.variant),
            "positivity": self.variant.positivity,
            "power": self.variant.sharpen,
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

    def _prepare(self) -> None:
        """Query and key with every factor on them, and the recipe, padded to whole base cells.

        Padded rows and keys are hidden: their `last` is −1, their position beyond every `last`.
        """
        recipe, base = self.recipe, self._base
        self._base_2 = self._takes_base_2()
        unit = LOG2_E if self._base_2 else 1.0

        def padded(tensor: Tensor, fill: float = 0) -> Tensor:
            size = -len(tensor) % base
            return torch.cat([tensor, tensor.new_full((size, *tensor.shape[1:]), fill)])

        self._query = padded(self.query * (recipe.scale * unit)[:, None])
        self._key = padded(self.key * recipe.key_scale[:, None])
        self._bias = padded(recipe.bias * unit)
        self._has_bias = bool((self._bias != 0).any())
        self._gain, self._rise = padded(recipe.gain), padded(recipe.rise)
        self._out, self._last = padded(recipe.out), padded(recipe.last, -1)
        self._first = None if recipe.first is None else padded(recipe.first)
        table = recipe.by_distance
        self._by_distance = None if table is None else table * unit

    def _takes_base_2(self) -> bool:
        """Whether scores carry log2 e, for `2^x`: a third of the time of `e^x` and softplus."""
        problem, variant = self.problem, self.variant
        if variant.positivity != "softplus":
            return variant.positivity == "exp"
        return self.terms.is_empty and variant.cosine and problem.largest_scale < LARGEST_EXPONENT

    def _visible_until(self, row: int) -> int:
        """One past the last key that a row sees; 0 for padded rows."""
        if row >= self.query_length:
            return 0
        if not self.is_causal:
            return self.key_length
        return max(0, row + 1 + self.key_length - self.query_length)

    def _cells(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """Pooled exact weights of whole cells, (rows, columns); computed TILE weights at a time."""
        step = max(1, TILE // max(1, k1 - k0) // cell) * cell
        tiles = []
        for start in range(q0, q1, step):
            stop = min(q1, start + step)
            tile = self._tile(start, stop, k0, k1, cell)
            if self.pool == "mean":
                tile = tile / self._visible_pairs(start, stop, k0, k1, cell).clamp(min=1)
            tiles.append(tile)
        return tiles[0].contiguous() if len(tiles) == 1 else torch.cat(tiles)

    @without_autocast()
    def _tile(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """Max or sum of the exact weights of every cell, (rows, columns).

        Keys run along the first dimension, rows along the second, and rows of one cell lie apart:
        every pooling is then over a dimension that is not the last, in long contiguous runs.
        """
        rows, keys, groups = q1 - q0, k1 - k0, (q1 - q0) // cell

        def apart(tensor: Tensor) -> Tensor:
            part = tensor[q0:q1]
            if cell == 1:
                return part
            return part.view(groups, cell, *part.shape[1:]).transpose(0, 1).flatten(0, 1)

        panel = self._key[k0:k1] @ apart(self._query).mT
        positions = torch.arange(k0, k1, device=panel.device)[:, None]
        if self._by_distance is not None:
            distance = (apart(self._last) - positions).clamp_(0, len(self._by_distance) - 1)
            panel += self._by_distance[distance]
        seen = min(self._visible_until(q0), self._visible_until(q1 - 1))
        if seen < k1:
            low = max(k0, seen)
            hidden = positions[low - k0 :] > apart(self._last)
            panel[low - k0 :].masked_fill_(hidden, -torch.inf)
        if self._first is not None:
            panel.masked_fill_(positions < apart(self._first), -torch.inf)
        if self.pool == "max" and cell > 1:
            panel = panel.view(keys // cell, cell, rows).amax(1)
        if self._has_bias:
            panel += apart(self._bias)
        weights = self._weigh_(panel, apart)
        if cell == 1:
            return weights.mT
        split = weights.view(-1, cell, groups)
        if self.pool == "max":
            return split.amax(1).mT
        return weights.view(keys // cell, cell * cell, groups).sum(1).mT

    def _weigh_(self, panel: Tensor, apart: Callable[[Tensor], Tensor]) -> Tensor:
        """Weights of a panel of scores (keys, rows), which is overwritten; −inf gives 0."""
        match self.variant.positivity:
            case "exp":
                panel.exp2_()
            case "softplus" if self._base_2:
                panel.exp2_().log1p_()
            case "softplus":
                panel = torch.nn.functional.softplus(panel)
            case "sigmoid":
                panel.sigmoid_()
            case "relu":
                panel.relu_()
        panel *= apart(self._gain)
        if self.variant.sharpen is None:
            return panel
        panel.sub_(apart(self._rise)).clamp_(min=0)
        weights, _ = power_(panel, self.variant.sharpen, torch.empty_like(panel))
        return weights.mul_(apart(self._out))

    def _visible_pairs(self, q0: int, q1: int, k0: int, k1: int, cell: int) -> Tensor:
        """How many (query, key) pairs of every cell are visible, (rows, columns)."""
        keys = torch.arange(k0, k1, cell, device=self._last.device)
        ends = self._last[q0:q1].view(-1, cell) + 1
        count = self._query.new_zeros(len(ends), len(keys))
        for row in range(cell):
            count += (ends[:, row, None] - keys).clamp_(0, cell)
        if self._first is not None:
            for row in range(cell):
                count -= (self._first[q0:q1].view(-1, cell)[:, row, None] - keys).clamp_(0, cell)
        return count

    def _build_levels(self, advance: Callable[[int], None]) -> None:
        """All levels in one sweep over strips of rows.

        A strip holds ROWS rows pooled to the base cell; it is pooled on while it has two rows, and
        its last row waits for the other strips.
        """
        base, device = self._base, self._query.device
        strip_rows = max(ROWS, base)
        sides = (len(self._query) // base, len(self._key) // base)
        levels: dict[int, Tensor] = {}
        cell = base
        while True:
            levels[cell] = torch.zeros(sides, dtype=torch.uint8, device=device)
            if max(sides) == 1:
                break
            cell, sides = cell * 2, (-(-sides[0] // 2), -(-sides[1] // 2))
        strips = -(-len(self._query) // strip_rows)
        width = -(-len(self._key) // strip_rows)
        waiting = [self._query.new_zeros(strips, width) for _ in range(self._strip_parts)]
        for index in range(strips):
            q0 = index * strip_rows
            q1 = min(len(self._query), q0 + strip_rows)
            parts = self._strip(q0, q1, advance)
            self._pool_on(parts, levels, base, strip_rows, q0)
            for whole, part in zip(waiting, parts, strict=True):
                whole[index, : part.shape[1]] = part[0]
        coarse = strip_rows * 2
        if coarse in levels:
            parts = [self._pooled(part, index) for index, part in enumerate(waiting)]
            self._pool_on(parts, levels, coarse, max(levels) * 2, 0)
        self.levels = {cell: level.cpu().numpy() for cell, level in levels.items()}

    @property
    def _strip_parts(self) -> int:
        """A strip is its maxima, or its sums and the pairs that are visible."""
        return 1 if self.pool == "max" else 2

    def _strip(self, q0: int, q1: int, advance: Callable[[int], None]) -> list[Tensor]:
        """Rows q0…q1 pooled to base cells, as far as they see keys: (rows, columns) each."""
        base = self._base
        until = self._visible_until(min(q1, self.query_length) - 1)
        width = -(-max(1, until) // base)
        strip = self._query.new_zeros((q1 - q0) // base, width)
        for k0 in range(0, width * base, KEYS):
            k1 = min(width * base, k0 + KEYS)
            strip[:, k0 // base : k1 // base] = self._tile(q0, q1, k0, k1, base)
            advance((q1 - q0) * (k1 - k0))
        if self.pool == "max":
            return [strip]
        return [strip, self._visible_pairs(q0, q1, 0, width * base, base)]

    def _pool_on(
        self, parts: list[Tensor], levels: dict[int, Tensor], cell: int, last: int, q0: int
    ) -> None:
        """Write `parts` (cells of `cell` tokens, from query `q0`) to the levels up to `last`.

        Leaves the parts pooled to cells of `last` tokens, in the same list.
        """
        while cell in levels:
            weights = parts[0] if self.pool == "max" else parts[0] / parts[1].clamp(min=1)
            rows, cols = weights.shape
            top = q0 // cell
            levels[cell][top : top + rows, :cols] = self.scale.encode(weights)
            if cell == last:
                return
            cell *= 2
            parts[:] = [self._pooled(part, index) for index, part in enumerate(parts)]

    def _pooled(self, cells: Tensor, index: int) -> Tensor:
        """Two by two cells in one; part 0 by the map's pooling, the pairs by their sum."""
        rows, cols = cells.shape
        cells = torch.nn.functional.pad(cells, (0, cols % 2, 0, rows % 2))
        if self.pool == "max" and index == 0:
            tall = torch.maximum(cells[0::2], cells[1::2])
            return torch.maximum(tall[:, 0::2], tall[:, 1::2])
        tall = cells[0::2] + cells[1::2]
        return tall[:, 0::2] + tall[:, 1::2]


def _listed(levels: Mapping[int, object]) -> str:
    return ", ".join(str(cell) for cell in levels)


def finest(attention: AttentionMap) -> int:
    """The cell of the finest level that a map carries."""
    least = max(LEAST_CELL, attention.query_length / LEVEL_CELLS)
    return next(cell for cell in attention.levels if cell >= least)
