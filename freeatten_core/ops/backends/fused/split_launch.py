"""When and how the keys of few queries are shared out over the GPU; `split` has the kernels."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from . import split as kernels
from .compiled import Compiled, compiled_for
from .launch import Call
from .tuning import Tiles, split_tiles

__all__ = ["forward", "multiprocessors", "parts_of", "takes"]

MOST_ROWS = 16
"""Queries of one key head that share its keys. With 64 LSSAR takes 0.18 ms where `forward_kernel`
takes 0.72 (p = 15, 16 heads of 64, 32,768 keys, H100), but no more than 16 were compared with
float64 on a GPU."""

WIDTHS, TYPES = (64, 128), (torch.bfloat16, torch.float16)
"""Of heads, padded, and of inputs: those that were compared with float64 on a GPU."""

LEAST_KEYS = 2048
"""That a row sees. The GPU is done sooner from 1,024 on (0.014 instead of 0.032 ms), but a caller
who waits for one call waits for the start of one kernel more."""

PROGRAMS = 2
"""A multiprocessor. Not tuned."""

MOST_PARTS = 128
"""Of a key head's keys: what is known of a row is read by every part. Not tuned."""


def takes(call: Call) -> bool:
    """Whether few rows see many keys, of a score that nothing is added to by distance.

    A call with gradients to come keeps the forward whose scores are rounded as the backward's are.
    """
    problem, terms = call.problem, call.terms
    inputs = (call.query, call.key, call.value, terms.head_scale)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return False
    return (
        problem.groups * problem.query_length <= MOST_ROWS
        and call.width in WIDTHS
        and call.query.dtype in TYPES
        and problem.query_length <= problem.key_length
        and min(problem.key_length, problem.window or problem.key_length) >= LEAST_KEYS
        and not terms.depends_on_distance
        and terms.decay is None
    )


def forward(call: Call) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv), contiguous, and the rows' scalars (5, B·H, Lq)."""
    problem, query, value = call.problem, call.query, call.value
    assert value is not None
    rows, pairs = problem.groups * problem.query_length, problem.batch * problem.kv_heads
    tiles = split_tiles(rows, call.width, query.dtype)
    first, step, parts = parts_of(call, tiles.keys)
    output = query.new_empty(problem.batch, problem.heads, problem.query_length, call.value_dim)
    scalars = call.empty_rows(5)
    sums = query.new_empty(3, pairs, parts, rows, dtype=torch.float32)
    mixtures = sums.new_empty(pairs, parts, rows, call.value_dim)
    kept, raised = sums, sums
    sweeps: tuple[str, ...] = ("all",)
    if call.sweeps == 2:
        kept, raised = sums.new_empty(pairs, problem.key_length, rows), torch.empty_like(sums)
        sweeps = ("scores", "weights")
    head_scale = scalars if call.head_scale is None else call.head_scale
    tensors = query, call.key, value, kept, sums, raised, mixtures, scalars, head_scale
    sizes = problem.query_length, problem.key_length, problem.window or 0
    numbers = pairs, problem.kv_heads, problem.groups, *sizes, first, step, parts, *call.scales
    at_once = max(16, 1 << (parts - 1).bit_length())
    for sweep in sweeps:
        kernel = compiled_for(
            (kernels.split_kernel, sweep, call.settings, tiles, at_once),
            partial(_split_kernel, call, sweep, tiles, at_once),
        )
        kernel.start(pairs * parts, tensors, (*call.strides, *numbers))
    kernel = compiled_for(
        (kernels.merge_kernel, call.settings, at_once), partial(_merge_kernel, call, at_once)
    )
    of_parts = pairs, problem.groups, *sizes, parts
    kernel.start(pairs * rows, (raised, mixtures, output, scalars), of_parts)
    return output, scalars


def parts_of(call: Call, tile: int) -> tuple[int, int, int]:
    """How the keys are shared out: the first that is seen, how many a part has, both multiples of
    a tile, and how many parts there are."""
    problem = call.problem
    low, high = problem.key_range(0, problem.query_length)
    first = low // tile * tile
    pairs = problem.batch * problem.kv_heads
    wanted = -(-PROGRAMS * multiprocessors(call.query.get_device()) // pairs)
    step = -(-(high - first) // min(wanted, MOST_PARTS))
    step = -(-step // tile) * tile
    return first, step, -(-(high - first) // step)


@lru_cache
def multiprocessors(device: int) -> int:
    """Of a GPU; 8 where Triton's interpreter computes."""
    return 8 if device < 0 else torch.cuda.get_device_properties(device).multi_processor_count


def _split_kernel(call: Call, sweep: str, tiles: Tiles, at_once: int) -> Compiled:
    constants = call.stages | {
        "SWEEP": sweep,
        "NORMALISE": call.normalise,
        "HAS_HEAD_SCALE": call.head_scale is not None,
        "HAS_WINDOW": call.problem.window is not None,
        "VALUE_DIM": call.value_dim,
        "BLOCK_VALUE": call.block_value,
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "PARTS": at_once,
        "STAGES": tiles.stages,
    }
    return Compiled(kernels.split_kernel, constants, {"num_warps": tiles.warps})


def _merge_kernel(call: Call, at_once: int) -> Compiled:
    constants: dict[str, Any] = {
        "POSITIVITY": call.problem.variant.positivity,
        "NORMALISE": call.normalise,
        "SWEEPS": call.sweeps,
        "CAUSAL": call.problem.is_causal,
        "HAS_WINDOW": call.problem.window is not None,
        "ONE_MORE": call.problem.variant.normalise == "off-by-one",
        "VALUE_DIM": call.value_dim,
        "BLOCK_VALUE": call.block_value,
        "PARTS": at_once,
    }
    return Compiled(kernels.merge_kernel, constants, {})
