"""From tensors to kernel launches: strides, tile sizes, what is compiled in."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cached_property
from typing import Any

import torch
import triton
from torch import Tensor

from ...call import LOG2_E, NO_TERMS, Problem, ScoreTerms
from . import backward as backward_kernels
from . import distance as distance_kernels
from . import forgotten_launch
from . import forward as forward_kernels
from .compiled import Compiled, compiled_for
from .layout import readable, tile_width
from .tuning import Tiles, forward_tiles, heads_together, key_tiles, query_tiles

__all__ = [
    "Call",
    "backward",
    "backward_distance",
    "backward_key",
    "backward_query",
    "compute_rows",
    "forward",
    "or_any",
]

NORM_KEYS = 128
"""Of a program that computes norms. Not tuned."""

DISTANCE_SCORES = 1 << 26
"""Gradients of scores in memory at once, 256 MB. Not tuned."""

LEAST_POWER = 8
"""Of the backward's fast sweeps. Not tuned: with 15 nearly all rows take them, with 3 none."""

FAST_KEYS = {64: 2048, 128: 4096}
"""Of the backward's fast sweeps, by the width of heads: from so many on. Random rows of fewer keys
are not straight. Forward and backward take 5.55 instead of 6.40 ms at 8,192 tokens with heads of
64, 9.20 instead of 10.55 with heads of 128 (H100); at 2,048 tokens 1.97 instead of 2.01, and 3.83
instead of 3.66. The gradients err by the same, in the worst row too: see docs/speed.md."""

SHORT_KEYS, SHORT_ROWS = 1024, 16384
"""Up to so many, the latter of all heads, the forward computes norms of keys where it needs them,
which takes less than to start a kernel for them. For LSSAR on 1,024 tokens, 16 heads of 64, a
caller waits 0.129 ms instead of 0.152, for four sequences 0.235 instead of 0.222 (H200)."""

LARGEST_EXPONENT = 120.0
"""Scores in base 2 up to this can go through `2^x` in float32 without a shift."""


class Call:
    """The arguments that all kernels of one call share."""

    def __init__(
        self,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        value: Tensor | None,
        terms: ScoreTerms = NO_TERMS,
    ) -> None:
        """query (B, H, Lq, D), key (B, Hkv, Lk, D), value (B, Hkv, Lk, Dv)."""
        self.problem, self.terms = problem, terms
        self.query, self.key = readable(query), readable(key)
        self.value = None if value is None else readable(value)
        scale = terms.head_scale
        self.head_scale = None if scale is None else scale.to(torch.float32).contiguous()
        self.distance = self._distance()
        decay = terms.decay
        self.decay = None if decay is None else decay.to(torch.float32).contiguous()
        self.dim, self.value_dim = problem.dim, problem.dim if value is None else value.shape[-1]
        self.block_dim, self.block_value = tile_width(self.dim), tile_width(self.value_dim)
        self.width = max(self.block_dim, self.block_value)
        self.pairs = problem.batch * problem.heads

    def empty_rows(self, fields: int) -> Tensor:
        return torch.empty(
            (fields, self.pairs, self.problem.query_length),
            dtype=torch.float32,
            device=self.query.device,
        )

    def _distance(self) -> Tensor | None:
        """What `stages.distance_of` reads: the slopes alone, or all that depends on the distance as
        a table (H, Lk)."""
        terms = self.terms
        if terms.distance_bias is None:
            slope = terms.distance_slope
            return None if slope is None else slope.to(torch.float32).contiguous()
        table = terms.by_distance(self.problem.key_length, torch.float32)
        assert table is not None
        in_base_2 = self.problem.variant.positivity != "relu"
        return (table * LOG2_E if in_base_2 else table).contiguous()

    @cached_property
    def key_scale(self) -> Tensor:
        """1/‖k‖, (B·Hkv, Lk); empty where scores are not cosines."""
        problem, key = self.problem, self.key
        if not problem.variant.cosine:
            return torch.empty(0, dtype=torch.float32, device=key.device)
        pairs = problem.batch * problem.kv_heads
        inverse = torch.empty((pairs, problem.key_length), dtype=torch.float32, device=key.device)
        self.compute_norms(inverse, None)
        return inverse

    def compute_norms(self, inverse: Tensor, units: Tensor | None) -> None:
        """Write 1/‖k‖, and k/‖k‖ (B·Hkv, Lk, block_dim) if it has a place."""
        problem, key, unit = self.problem, self.key, units is not None
        sizes = {"UNIT": unit, "DIM": self.dim, "BLOCK_DIM": self.block_dim, "KEYS": NORM_KEYS}
        norms = forward_kernels.key_norms_kernel
        name = norms, unit, self.dim, key.dtype
        kernel = compiled_for(name, lambda: Compiled(norms, sizes, {}))
        programs = len(inverse) * -(-problem.key_length // NORM_KEYS)
        numbers = *key.stride()[:3], problem.kv_heads, problem.key_length
        kernel.start(programs, (key, inverse, or_any(units, inverse)), numbers)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of batch, head and token, of query, key and value."""
        value = self.key if self.value is None else self.value
        return *self.query.stride()[:3], *self.key.stride()[:3], *value.stride()[:3]

    @property
    def gated(self) -> forgotten_launch.Gated:
        terms = self.terms._replace(head_scale=self.head_scale, decay=self.decay)
        return self.problem, self.query, self.key, terms

    @property
    def sizes(self) -> tuple[int, ...]:
        problem = self.problem
        return (
            self.pairs,
            problem.heads,
            problem.groups,
            problem.query_length,
            problem.key_length,
            problem.window or 0,
        )

    @property
    def scales(self) -> tuple[float, float]:
        return float(self.problem.scale_slope), float(self.problem.scale_base)

    @property
    def settings(self) -> Hashable:
        """What decides everything that a kernel compiles in but its tiles."""
        problem, distances = self.problem, self.distances
        return (
            problem.variant,
            problem.is_causal,
            self.dim,
            self.value_dim,
            self.query.dtype,
            self.head_scale is None,
            *distances.values(),
            self.quick,
        )

    @property
    def stages(self) -> dict[str, Any]:
        """What every kernel compiles in."""
        variant = self.problem.variant
        return {
            "SCORE": "cosine" if variant.cosine else variant.score,
            "POSITIVITY": variant.positivity,
            "SHARPENED": variant.sharpen is not None,
            "POWER": variant.sharpen or 1,
            "CAUSAL": self.problem.is_causal,
            "DIM": self.dim,
            "BLOCK_DIM": self.block_dim,
            "DEGREE": self.degree,
        }

    @property
    def degree(self) -> int:
        """Of the softplus' polynomial, see `stages.softplus`. The same in both sweeps: sharpening
        would amplify any difference between them."""
        return 7 if self.query.dtype == torch.float32 else 5

    @property
    def options(self) -> dict[str, Any]:
        return {
            **self.distances,
            "VALUE_DIM": self.value_dim,
            "BLOCK_VALUE": self.block_value,
        }

    @property
    def distances(self) -> dict[str, Any]:
        """How a score depends on the distance, and on what lies between."""
        kind = "none"
        if self.distance is not None:
            kind = "slope" if self.terms.distance_bias is None else "table"
        return {
            "DISTANCE": kind,
            "DECAY": self._decay_kind,
            "HAS_WINDOW": self.problem.window is not None,
        }

    @property
    def _decay_kind(self) -> str:
        """Where what is forgotten goes: into the score of `exp`, else onto the positivity."""
        if self.decay is None:
            return "none"
        return "score" if self.problem.variant.positivity == "exp" else "weight"

    @property
    def normalise(self) -> str:
        """What the kernels are told: `off-by-one` divides by a sum, to which the forward adds."""
        variant = self.problem.variant
        return "l1" if variant.divides_by_sum else variant.normalise

    @property
    def late(self) -> bool:
        """Whether a score is the product times a positive factor of the row, and the positivity
        may come divided by it: in float16 only where rows are divided by their sum."""
        variant = self.problem.variant
        narrow = self.query.dtype == torch.float16 and variant.normalise != "l1"
        return self.terms.is_empty and not narrow and variant.score != "dot-log-n"

    @property
    def quick(self) -> bool:
        """Whether `2^x` of a softplus' score cannot overflow, and float32 accuracy is not asked."""
        problem = self.problem
        largest = problem.largest_scale * math.log2(math.e)
        return (
            self.late
            and self.query.dtype != torch.float32
            and problem.variant.cosine
            and problem.variant.positivity == "softplus"
            and largest < LARGEST_EXPONENT
        )

    @property
    def fast(self) -> bool:
        """Whether the backward has the sweeps of `fast_backward`: for LSSAR in bfloat16 without
        what is added to scores, with a power that leaves no weight to keys near the mean.

        Only heads of the widths of `FAST_KEYS`: it is what was measured."""
        variant, terms = self.problem.variant, self.terms
        return (
            variant.cosine
            and variant.positivity == "softplus"
            and variant.normalise == "l1"
            and (variant.sharpen or 1) >= LEAST_POWER
            and not terms.depends_on_distance
            and terms.decay is None
            and self.query.dtype == torch.bfloat16
            and self.problem.key_length >= FAST_KEYS.get(self.width, math.inf)
        )

    @property
    def sweeps(self) -> int:
        """2 where a row must be known before its weights: always with sharpening, and in float16,
        where `f` can lie outside the range and `f / max f` cannot."""
        variant = self.problem.variant
        narrow = self.query.dtype == torch.float16 and variant.positivity != "exp"
        return 2 if variant.sharpen or (narrow and variant.normalise == "l1") else 1


def forward(call: Call, *, scalars_only: bool = False) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv), contiguous, and the rows' scalars (5, B·H, Lq).

    Args:
        scalars_only: no output is computed, and `highest` is filled for every variant.
    """
    problem, query = call.problem, call.query
    shape = (problem.batch, problem.heads, problem.query_length, call.value_dim)
    output = query.new_empty(0 if scalars_only else shape)
    scalars = call.empty_rows(5)
    compute_rows(call, output, scalars, scalars_only=scalars_only)
    return output, scalars


def compute_rows(
    call: Call,
    output: Tensor,
    scalars: Tensor,
    flags: Tensor | None = None,
    flagged: int = 0,
    *,
    scalars_only: bool = False,
) -> None:
    """Write what `forward` returns, of all rows or of the blocks of `flagged` rows with a flag."""
    problem, query = call.problem, call.query
    tiles = forward_tiles(call.width, query.dtype)
    here = (
        problem.variant.cosine
        and problem.key_length <= SHORT_KEYS
        and call.pairs * problem.query_length <= SHORT_ROWS
    )
    # the statistics describe all keys
    firsts = None if scalars_only else forgotten_launch.first_keys(call.gated, tiles)
    settings = scalars_only, here, flagged, firsts is not None
    kernel = compiled_for(
        (forward_kernels.forward_kernel, call.settings, tiles, *settings),
        lambda: _forward_kernel(call, tiles, *settings),
    )
    tensors = (
        query,
        call.key,
        call.key if call.value is None else call.value,
        output,
        scalars,
        or_any(flags, scalars),
        scalars if here else call.key_scale,
        or_any(call.head_scale, scalars),
        or_any(call.distance, scalars),
        or_any(call.decay, scalars),
        or_any(firsts, scalars),
    )
    numbers = *call.strides, *call.sizes, *call.scales
    kernel.start(call.pairs * -(-problem.query_length // tiles.rows), tensors, numbers)


def _forward_kernel(
    call: Call, tiles: Tiles, scalars_only: bool, here: bool, flagged: int, skips: bool
) -> Compiled:
    constants = {
        "NORMALISE": call.normalise,
        "SWEEPS": 2 if scalars_only else call.sweeps,
        "HAS_HEAD_SCALE": call.head_scale is not None,
        "LATE": call.late,
        "ONE_MORE": call.problem.variant.normalise == "off-by-one",
        "QUICK": call.quick and not scalars_only,  # the statistics describe the exact softplus
        "HAS_VALUE": not scalars_only,
        "FLAGGED": flagged,
        "TOGETHER": heads_together(call.width),
        "SKIPS": skips,
        **call.stages,
        **({"SCORE": "cosine here"} if here else {}),
        **call.options,
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "STAGES": tiles.stages,
    }
    options = {"num_warps": tiles.warps, "maxnreg": tiles.registers}
    return Compiled(forward_kernels.forward_kernel, constants, options)


def backward(
    call: Call, output: Tensor, scalars: Tensor, grad_output: Tensor, *, by_distance: bool = False
) -> tuple[Tensor, Tensor, Tensor, ScoreTerms]:
    """Gradients of query, key and value, contiguous, in their type, and of the terms, float32.

    Args:
        output, scalars: of the forward.
        grad_output: (B, H, Lq, Dv).
        by_distance: whether those of slope and bias are wanted, which take one more sweep.
    """
    grad_output = grad_output.contiguous()
    grad_query, rows, curved = backward_query(call, output, scalars, grad_output)
    grad_key, grad_value, decay = backward_key(call, rows, curved, grad_output)
    scale = slope = bias = None
    if call.head_scale is not None:
        of_rows = rows[backward_kernels.OF_HEAD_SCALE.value]
        scale = of_rows.view(call.problem.batch, call.problem.heads, -1).sum((0, 2))
    if by_distance:
        slope, bias = call.terms.undo_by_distance(backward_distance(call, rows, grad_output))
    return grad_query, grad_key, grad_value, ScoreTerms(scale, slope, bias, decay)


def backward_query(
    call: Call, output: Tensor, scalars: Tensor, grad_output: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of query, and what `backward_key` needs of every row and block of rows."""
    problem, query = call.problem, call.query
    grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
    rows = call.empty_rows(backward_kernels.ROW_FIELDS)
    tiles = query_tiles(problem.variant, call.width, query.dtype)
    blocks = triton.cdiv(problem.query_length, tiles.rows)
    curved = torch.empty((call.pairs, blocks), dtype=torch.int8, device=query.device)
    firsts = forgotten_launch.first_keys(call.gated, tiles)
    backward_kernels.query_kernel[(call.pairs * blocks,)](
        query,
        call.key,
        call.value,
        output,
        grad_output,
        scalars,
        rows,
        curved,
        grad_query,
        call.key_scale,
        or_any(call.head_scale, scalars),
        or_any(call.distance, scalars),
        or_any(call.decay, scalars),
        or_any(firsts, scalars),
        *call.strides,
        *call.sizes,
        *call.scales,
        NORMALISE=call.normalise,
        HAS_HEAD_SCALE=call.head_scale is not None,
        SKIPS=firsts is not None,
        HALF=query.dtype == torch.float16,
        FAST=call.fast,
        TOGETHER=heads_together(call.width),
        **call.stages,
        **call.options,
        ROWS=tiles.rows,
        KEYS=tiles.keys,
        STAGES=tiles.stages,
        num_warps=tiles.warps,
        maxnreg=tiles.registers,
    )
    return grad_query, rows, curved


def backward_key(
    call: Call, rows: Tensor, curved: Tensor, grad_output: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of key, value and decay, which is float32."""
    problem, key, value = call.problem, call.key, call.value
    assert value is not None
    grad_key = torch.empty_like(key, memory_format=torch.contiguous_format)
    grad_value = torch.empty_like(value, memory_format=torch.contiguous_format)
    grad_decay = None if call.decay is None else torch.empty_like(call.decay)
    tiles = key_tiles(problem.variant, call.width, key.dtype)
    key_pairs = problem.batch * problem.kv_heads
    lasts = forgotten_launch.last_rows(call.gated, tiles)
    backward_kernels.key_kernel[(key_pairs * triton.cdiv(problem.key_length, tiles.keys),)](
        call.query,
        key,
        value,
        grad_output,
        rows,
        curved,
        grad_key,
        grad_value,
        or_any(grad_decay, rows),
        or_any(call.distance, rows),
        or_any(call.decay, rows),
        or_any(lasts, rows),
        *call.strides,
        *call.sizes,
        SKIPS=lasts is not None,
        HALF=key.dtype == torch.float16,
        FAST=call.fast,
        TOGETHER=heads_together(call.width),
        FLAGGED=query_tiles(problem.variant, call.width, key.dtype).rows,
        **call.stages,
        **call.options,
        ROWS=tiles.rows,
        KEYS=tiles.keys,
        STAGES=tiles.stages,
        num_warps=tiles.warps,
        maxnreg=tiles.registers,
    )
    return grad_key, grad_value, grad_decay


def backward_distance(call: Call, rows: Tensor, grad_output: Tensor) -> Tensor:
    """The gradient of what the score gains at every distance, (H, Lk) float32."""
    problem, query, key = call.problem, call.query, call.key
    tiles = query_tiles(problem.variant, call.width, query.dtype)
    step = max(1, DISTANCE_SCORES // (call.pairs * problem.key_length * tiles.rows)) * tiles.rows
    step = min(step, problem.query_length)
    by_row = query.new_empty((call.pairs * step * problem.key_length,), dtype=torch.float32)
    total = by_row.new_zeros(call.pairs, problem.key_length)
    for start in range(0, problem.query_length, step):
        stop = min(problem.query_length, start + step)
        shape = (call.pairs, stop - start, problem.key_length)
        part = by_row[: math.prod(shape)].view(shape).zero_()
        distance_kernels.distance_kernel[(call.pairs * triton.cdiv(stop - start, tiles.rows),)](
            query,
            key,
            call.value,
            grad_output,
            rows,
            part,
            call.key_scale,
            or_any(call.distance, rows),
            or_any(call.decay, rows),
            *call.strides,
            *call.sizes,
            start,
            stop,
            HALF=query.dtype == torch.float16,
            **call.stages,
            **call.options,
            ROWS=tiles.rows,
            KEYS=tiles.keys,
            num_warps=tiles.warps,
            maxnreg=tiles.registers,
        )
        total += part.sum(1)
    return total.view(problem.batch, problem.heads, -1).sum(0)


def or_any(tensor: Tensor | None, instead: Tensor) -> Tensor:
    """A pointer for an argument that the kernel does not read."""
    return instead if tensor is None else tensor
