"""The zoomable map of one head: a pyramid of bytes for the far view, exact weights for the near.

Nothing of length × length is ever held. The rows' scalars (`RowStatistics`: with normaliser,
`u_max`, `O` and `R` saved, any weights can be recomputed at the cost of those weights alone) are
turned into one *recipe*, the same few operations for every variant:

    s = scale[i] · key_scale[j] · (query[i] · key[j]) + bias[i]
    f = e^s  |  log(1 + e^s)  |  1 / (1 + e^−s)  |  max(s, 0)         by the positivity
    w = gain[i] · f                                                   without sharpening
    w = out[i] · max(0, gain[i] · f − rise[i])^p                      with sharpening by p
    w = 0  where  j > last[i]

`Payload` carries exactly these arrays, so a page needs no other formula; `Payload.weights` is the
reference for it. The recipe in terms of the variant's stages (N visible keys, S normaliser):

    scale      1/√D, or log D · log N / max(‖q‖, 1e-6) for `length-cosine` (and its ablations)
    key_scale  1, or 1 / max(‖k‖, 1e-6) for cosines
    bias       −log Σ e^s for `exp` with `l1`, −log N for `dot-log-n`, their sum for both, else 0
    gain       1/S for `l1` (1 for `exp`, whose S is in the bias), 1/N for `count`, 1 for `none`;
               with sharpening times N / u_max
    rise, out  O / u_max and 1 / R

Max pooling commutes with all of it, since a row's weight never falls as its score rises: scores
are pooled first, and the elementwise work shrinks by the size of the cell.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import check_whole
from ..attention import check
from ..errors import UsageError
from ..kernels.chunked import LARGEST_EXPONENT, LOG2_E
from ..kernels.power import power_
from ..kernels.precision import without_autocast
from ..kernels.problem import Problem
from ..kernels.statistics import RowStatistics, statistics
from ..reference import NORM_EPS
from ..variants import Variant
from .capture import Advance, Capture, Meter, ignore, visible_scores

Pool = Literal["max", "mean"]

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


@dataclass(frozen=True)
class ByteScale:
    """Weights as bytes on a logarithmic scale.

    Byte `b` stands for `2^(floor_log2 + b · step)`: 255 for `2^top_log2`, 0 for everything at or
    below `2^floor_log2`, exact zeros and hidden keys included.
    """

    top_log2: float = 0.0
    """0, so that byte 255 is a weight of 1, unless a row's weights can be larger (`relu` and the
    `count` variants): then the next whole power of two."""
    floor_log2: float = -24.0

    @property
    def step(self) -> float:
        """Octaves (factors of two) from one byte to the next: 0.094 from 2⁻²⁴ to 1."""
        return (self.top_log2 - self.floor_log2) / 255

    def encode(self, weights: Tensor) -> Tensor:
        """uint8, the shape of `weights`."""
        above = weights.clamp(min=2.0**self.floor_log2)  # log2 of 0 takes ten times as long
        scaled = above.log2_().sub_(self.floor_log2).div_(self.step)
        return scaled.round_().clamp_(0, 255).to(torch.uint8)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The weight that each byte stands for; 0 for byte 0."""
        table = np.exp2(self.floor_log2 + self.step * np.arange(256)).astype(np.float32)
        table[0] = 0
        return np.asarray(table[codes])

    def octaves(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """log2 of the weight, `floor_log2` for byte 0."""
        return np.asarray(self.floor_log2 + np.float32(self.step) * codes, dtype=np.float32)


@dataclass(frozen=True)
class Region:
    """A part of the map in square cells, drawn row by row from the top left."""

    query_start: int
    """Position of the first cell's first query: the start asked for, rounded down to a cell."""
    key_start: int
    cell: int
    """Tokens along each side of a cell: 1, 2, 4, …"""
    codes: NDArray[np.uint8]
    """(rows, columns), at most `cells + 1` each: views need not be aligned with the cells."""
    weights: NDArray[np.float32] | None
    """The same cells exactly, recomputed from query and key; None when read from the pyramid."""
    pool: Pool
    scale: ByteScale
    query_length: int
    key_length: int

    @property
    def exact(self) -> bool:
        return self.weights is not None

    def query_edges(self) -> NDArray[np.int64]:
        """Where cells begin and end, (rows + 1,) positions; the last cell can be cut short."""
        return _edges(self.query_start, self.cell, self.codes.shape[0], self.query_length)

    def key_edges(self) -> NDArray[np.int64]:
        """As `query_edges`, (columns + 1,)."""
        return _edges(self.key_start, self.cell, self.codes.shape[1], self.key_length)

    def values(self) -> NDArray[np.float32]:
        """Weights of the cells, exact where they are, else what the bytes stand for."""
        return self.scale.decode(self.codes) if self.weights is None else self.weights


@dataclass(frozen=True)
class DifferenceRegion:
    """How two maps of the same text differ, cell by cell; axes as in `Region`."""

    query_start: int
    key_start: int
    cell: int
    octaves: NDArray[np.float32]
    """log2 of first / second, (rows, columns), each of them at least 2⁻²⁴: 0 where both are below
    that; from the pyramid within one step of either scale."""
    weights: NDArray[np.float32] | None
    """first − second, when both are exact."""
    first: Region
    second: Region


@dataclass(frozen=True)
class Payload:
    """A map as plain arrays, for a page that carries everything with it.

    arrays (type, shape):
        query, key: float16 (Lq, D), (Lk, D), divided by a power of two to lie in [−1, 1]; `scale`
            has that power.
        scale, bias, gain, rise, out: float32 (Lq,); key_scale: float32 (Lk,); last: int32 (Lq,):
            the recipe, see the module's description. −1 in `last`: a row that sees nothing.
        level_4, level_8, …: uint8 (⌈Lq / c⌉, ⌈Lk / c⌉), the pyramid; cell (a, b) pools the queries
            from a·c and the keys from b·c on. `metadata["cells"]` lists the sizes, finest first.
        rows_entropy, rows_largest, …: float32 (Lq,), every field of `RowStatistics`.
        tokens: int32 (Lq,), when known.
    metadata: JSON values: format, variant, positivity (exp, softplus, sigmoid, relu), power (p or
        null), query_length, key_length, dim, is_causal, pool (max, mean), cells, floor_log2,
        top_log2, tokenizer_id, layer, head.

    The scalars and the pyramid are those of the rounded query and key, so that near and far views
    agree with each other. A cell smaller than the finest level is recomputed and pooled: for the
    mean, the sum over the cell divided by its visible pairs (`j <= last[i]`).
    """

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]

    def weights(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        """The exact weights (q1 − q0, k1 − k0) by the recipe, as a page computes them."""
        a, p = self.arrays, self.metadata["power"]
        rows, keys = slice(q0, q1), slice(k0, k1)
        query, key = a["query"][rows].astype(float), a["key"][keys].astype(float)
        per_row = {name: a[name][rows, None].astype(float) for name in RECIPE}
        s = per_row["scale"] * (query @ key.T) * a["key_scale"][keys] + per_row["bias"]
        match self.metadata["positivity"]:
            case "exp":
                f = np.exp(s)
            case "softplus":
                f = np.logaddexp(s, 0)
            case "sigmoid":
                f = 1 / (1 + np.exp(-s))
            case "relu":
                f = np.maximum(s, 0)
        w = per_row["gain"] * f
        if p is not None:
            w = per_row["out"] * np.maximum(0, w - per_row["rise"]) ** p
        return np.where(np.arange(k0, k1) > a["last"][rows, None], 0.0, w)


RECIPE = ("scale", "bias", "gain", "rise", "out")


@dataclass(frozen=True)
class _Recipe:
    """The module's recipe; see there."""

    scale: Tensor
    bias: Tensor
    gain: Tensor
    rise: Tensor
    out: Tensor
    key_scale: Tensor
    last: Tensor

    @classmethod
    def of(cls, problem: Problem, query: Tensor, key: Tensor, rows: RowStatistics) -> _Recipe:
        """query (Lq, D), key (Lk, D), rows (Lq,) each."""
        variant, length = problem.variant, problem.query_length
        count = problem.visible_count(0, length, query)
        scale, key_scale = problem.score_scale(count), key.new_ones(len(key))
        if variant.cosine:
            scale = scale / query.norm(dim=-1).clamp(min=NORM_EPS)
            key_scale = 1 / key.norm(dim=-1).clamp(min=NORM_EPS)
        bias, gain = torch.zeros_like(count), torch.ones_like(count)
        if variant.score == "dot-log-n":
            bias = bias - count.clamp(min=1).log()
        if variant.normalise == "count":
            gain = 1 / count.clamp(min=1)
        elif variant.normalise == "l1" and variant.positivity == "exp":
            bias = bias - rows.normaliser
        elif variant.normalise == "l1":
            gain = 1 / _not_zero(rows.normaliser)
        rise, out = torch.zeros_like(count), torch.ones_like(count)
        if variant.sharpen is not None:
            gain = gain * count / _not_zero(rows.u_max)
            rise, out = rows.offset / _not_zero(rows.u_max), 1 / _not_zero(rows.raised)
        last = torch.full((length,), problem.key_length - 1, device=query.device)
        if problem.is_causal:
            last = torch.arange(length, device=query.device) + problem.key_length - length
            last = last.clamp(min=-1)
        return cls(scale, bias, gain, rise, out, key_scale, last)


class AttentionMap:
    """The map of one layer's head; made by `build` or `of`.

    Attributes:
        variant: without modifiers.
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
        self.query, self.key, self.rows = query, key, rows
        self.tokens: Tensor | None = origin.get("tokens")
        self.tokenizer_id: str | None = origin.get("tokenizer_id")
        self.layer: int | None = origin.get("layer")
        self.head: int | None = origin.get("head")
        self.recipe = _Recipe.of(problem, query, key, rows)
        self.scale = _byte_scale(self.variant, rows)
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
        variant: Variant | str,
        *,
        is_causal: bool = True,
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
        problem = check(
            query[None, None], key[None, None], None, variant, is_causal=is_causal, enable_gqa=False
        )
        if tokens is not None and tokens.shape != (len(key),):
            raise UsageError(
                f"tokens has shape {tuple(tokens.shape)}; it must be ({len(key)},), one a key"
            )
        scores = visible_scores(problem)
        meter = Meter(scores if rows is not None else 2 * scores, advance)
        if rows is None:
            found = statistics(problem, query[None, None], key[None, None], meter.add)
            rows = found.map(lambda tensor: tensor[0, 0])
        origin = {"tokens": tokens, "tokenizer_id": tokenizer_id, "layer": layer, "head": head}
        made = cls(problem, query, key, rows.map(lambda t: t.to(query)), pool, origin, meter.add)
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
        rows = capture.layer(layer).rows
        return cls.build(
            query,
            key,
            capture.weighed_by,
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
        query, query_power = _to_half(self.query)
        key, key_power = _to_half(self.key)
        rounded = AttentionMap.build(
            query.float() * query_power,
            key.float() * key_power,
            self.variant,
            is_causal=self.is_causal,
            pool=self.pool,
            advance=advance,
        )
        recipe = rounded.recipe
        arrays: dict[str, NDArray[Any]] = {"query": _numpy(query), "key": _numpy(key)}
        arrays |= {name: _numpy(getattr(recipe, name)) for name in RECIPE}
        arrays["scale"] = _numpy(recipe.scale * (query_power * key_power))
        arrays["key_scale"] = _numpy(recipe.key_scale)
        arrays["last"] = recipe.last.cpu().numpy().astype(np.int32)
        if self.tokens is not None:
            arrays["tokens"] = self.tokens.cpu().numpy().astype(np.int32)
        for field in fields(RowStatistics):
            arrays[f"rows_{field.name}"] = _numpy(getattr(rounded.rows, field.name))
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

    def _takes_base_2(self) -> bool:
        """Whether scores carry log2 e, for `2^x`: a third of the time of `e^x` and softplus."""
        problem, variant = self.problem, self.variant
        if variant.positivity != "softplus":
            return variant.positivity == "exp"
        return variant.cosine and problem.largest_scale < LARGEST_EXPONENT

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
        seen = min(self._visible_until(q0), self._visible_until(q1 - 1))
        if seen < k1:
            low = max(k0, seen)
            hidden = torch.arange(low, k1, device=panel.device)[:, None] > apart(self._last)
            panel[low - k0 :].masked_fill_(hidden, -torch.inf)
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


def difference(
    first: AttentionMap,
    second: AttentionMap,
    q0: int,
    q1: int,
    k0: int,
    k1: int,
    cells: int = 512,
) -> DifferenceRegion:
    """How two maps of the same tokens differ in a region; arguments as `AttentionMap.region`.

    Raises:
        UsageError: another tokenizer, other tokens or another size, another pooling; a region
            that is not one.
    """
    _check_same_text(first, second)
    a, b = (item.region(q0, q1, k0, k1, cells) for item in (first, second))
    floor = max(a.scale.floor_log2, b.scale.floor_log2)
    if a.weights is not None and b.weights is not None:
        logs = [np.log2(np.maximum(part, np.exp2(floor))) for part in (a.weights, b.weights)]
        weights = a.weights - b.weights
    else:
        logs = [part.scale.octaves(part.codes) for part in (a, b)]
        weights = None
    octaves = np.asarray(logs[0] - logs[1], dtype=np.float32)
    return DifferenceRegion(a.query_start, a.key_start, a.cell, octaves, weights, a, b)


def _check_same_text(first: AttentionMap, second: AttentionMap) -> None:
    sizes = [(item.query_length, item.key_length) for item in (first, second)]
    if first.tokenizer_id != second.tokenizer_id:
        raise UsageError(
            "the two maps cannot be compared cell by cell: their tokenizers differ "
            f"({first.tokenizer_id} and {second.tokenizer_id}), so the same position is not the "
            "same text; capture both with checkpoints that share a tokenizer"
        )
    if sizes[0] != sizes[1]:
        raise UsageError(
            "the two maps cannot be compared cell by cell: they are of "
            f"{sizes[0][0]}×{sizes[0][1]} and {sizes[1][0]}×{sizes[1][1]} tokens"
        )
    known = [item.tokens is not None for item in (first, second)]
    if known[0] != known[1] or (
        first.tokens is not None
        and second.tokens is not None
        and not torch.equal(first.tokens.cpu(), second.tokens.cpu())
    ):
        raise UsageError(
            "the two maps cannot be compared cell by cell: they are not known to be of the same "
            "tokens; capture both on the same text"
        )
    if first.pool != second.pool:
        raise UsageError(
            f"the two maps cannot be compared: one shows the {first.pool} of a cell, the other "
            f"the {second.pool}; build both with the same pool"
        )


def check_range(name: str, start: int, stop: int, length: int) -> tuple[int, int]:
    """start and stop as whole numbers with `0 <= start < stop <= length`, or a UsageError."""
    legal = f"it must be start:stop in whole numbers with 0 <= start < stop <= {length}"
    shown = f"the {name} range is {start}:{stop}"
    try:
        if isinstance(start, bool) or isinstance(stop, bool):
            raise TypeError
        start, stop = operator.index(start), operator.index(stop)
    except TypeError:
        raise UsageError(f"{shown}; {legal}") from None
    if start == stop:
        raise UsageError(f"{shown}, which is empty; {legal}")
    if start > stop:
        raise UsageError(f"{shown}, which is reversed; {legal}")
    if start < 0 or stop > length:
        raise UsageError(f"{shown}, which is outside; {legal}")
    return start, stop


def _byte_scale(variant: Variant, rows: RowStatistics) -> ByteScale:
    """Byte 255 is weight 1, or the next power of two above the largest weight there is."""
    if variant.normalise == "l1" or variant.positivity == "sigmoid":
        return ByteScale()
    largest = float(rows.largest.max())
    if not (largest > 1 and math.isfinite(largest)):
        return ByteScale()
    return ByteScale(top_log2=float(math.ceil(math.log2(largest))))


def _edges(start: int, cell: int, count: int, length: int) -> NDArray[np.int64]:
    return np.minimum(start + cell * np.arange(count + 1, dtype=np.int64), length)


def _not_zero(tensor: Tensor) -> Tensor:
    return tensor.masked_fill(tensor == 0, 1)


def _listed(levels: Mapping[int, object]) -> str:
    return ", ".join(str(cell) for cell in levels)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.float() if tensor.dtype == torch.float64 else tensor
    return np.asarray(tensor.cpu().numpy())


def _to_half(vectors: Tensor) -> tuple[Tensor, float]:
    """float16 vectors in [−1, 1], and the power of two to multiply them with."""
    largest = float(vectors.abs().max())
    power = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
    return (vectors / power).half(), power
