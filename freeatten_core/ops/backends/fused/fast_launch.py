"""Which calls have the forward of `fast_forward`, and its launch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import fast_forward as kernels
from . import hopper_launch, launch
from .compiled import Compiled, compiled_for
from .launch import Call
from .tuning import Tiles, fast_forward_tiles

__all__ = ["compute_most", "compute_uneven", "forward", "takes"]

TOKENS = 2048
"""From so many queries and keys on: on an H100 the forward takes 0.456 instead of 0.524 ms at 2,048
tokens, 0.354 instead of 0.326 at 1,024."""

WIDTHS = (64, 128)
"""Of heads, padded."""

POWERS = range(3, 16)
"""Higher ones amplify rounding more than was measured, lower ones give most keys a weight."""

TOGETHER = 8
"""Heads that run at a time: the keys and values of 8 heads of 64 and 8,192 tokens are 17 MB of the
second-level cache. At 8,192 tokens 1.172 ms with heads of 64, 1.995 with heads of 128; with 1, 2,
4, 16 and 32 at a time 1.247, 1.236, 1.188, 1.162, 1.184 and 2.062, 2.031, 2.002, 1.991, 2.023; at
32,768 8.85 and 15.0, with 32 at a time 9.04 and 15.9 (H200)."""


def takes(call: Call) -> bool:
    """Whether the call is LSSAR's in bfloat16, long, and adds nothing to scores.

    float16 has the exact kernel: its output would show the rounding of the queries and keys.
    """
    problem, variant = call.problem, call.problem.variant
    return (
        call.quick
        and variant.normalise == "l1"
        and variant.sharpen in POWERS
        and problem.window is None
        and call.query.dtype == torch.bfloat16
        and call.width in WIDTHS
        and min(problem.query_length, problem.key_length) >= TOKENS
    )


def forward(call: Call) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv), contiguous, and the rows' scalars (5, B·H, Lq)."""
    problem, query = call.problem, call.query
    output = query.new_empty(problem.batch, problem.heads, problem.query_length, call.value_dim)
    scalars = call.empty_rows(5)
    flags, rows = compute_most(call, output, scalars)
    launch.compute_rows(call, output, scalars, flags, rows)
    return output, scalars


def compute_most(call: Call, output: Tensor, scalars: Tensor) -> tuple[Tensor, int]:
    """Write output and scalars of most blocks of rows, and the keys' norms.

    Returns:
        Bytes (B·H, blocks): those that it left to the exact kernel; and the rows of a block.
    """
    problem, key, value = call.problem, call.key, call.value
    assert value is not None
    key_pairs = problem.batch * problem.kv_heads, problem.key_length
    inverse = torch.empty(key_pairs, dtype=torch.float32, device=key.device)
    units = torch.empty((*key_pairs, call.block_dim), dtype=torch.float16, device=key.device)
    call.compute_norms(inverse, units)
    call.key_scale = inverse
    tiles = fast_forward_tiles(call.width)
    blocks = -(-problem.query_length // tiles.rows)
    flags = torch.empty((call.pairs, blocks), dtype=torch.int8, device=key.device)
    if tiles.rows == hopper_launch.ROWS and hopper_launch.takes(call):
        hopper_launch.compute_even(call, units, output, scalars, flags, TOGETHER)
        compute_uneven(call, output, scalars, flags)
    else:
        tensors = call.query, key, units, value, output, scalars, flags, inverse
        _start(kernels.fast_forward_kernel, call, flags.numel(), tensors)
    return flags, tiles.rows


def compute_uneven(call: Call, output: Tensor, scalars: Tensor, flags: Tensor) -> None:
    """Write output and scalars of the blocks that are flagged as UNEVEN, whose sums are known."""
    assert call.value is not None
    tensors = call.query, call.key, call.value, output, scalars, flags, call.key_scale
    _start(kernels.uneven_kernel, call, flags.numel(), tensors)


def _start(kernel: Any, call: Call, programs: int, tensors: tuple[Tensor, ...]) -> None:
    tiles = fast_forward_tiles(call.width)
    compiled = compiled_for((kernel, call.settings, tiles), lambda: _kernel(kernel, call, tiles))
    compiled.start(programs, tensors, (*call.strides, *call.sizes[:5], *call.scales))


def _kernel(kernel: Any, call: Call, tiles: Tiles) -> Compiled:
    constants = {
        "POWER": call.problem.variant.sharpen,
        "CAUSAL": call.problem.is_causal,
        "DIM": call.dim,
        "BLOCK_DIM": call.block_dim,
        "VALUE_DIM": call.value_dim,
        "BLOCK_VALUE": call.block_value,
        "TOGETHER": TOGETHER,
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "STAGES": tiles.stages,
    }
    options = {"num_warps": tiles.warps, "maxnreg": tiles.registers}
    return Compiled(kernel, constants, options)
