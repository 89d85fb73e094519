"""Which calls have the forward of `fast_forward`, and its launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
from torch import Tensor

from . import fast_forward as kernels
from .tuning import fast_forward_tiles

if TYPE_CHECKING:
    from .launch import Call

__all__ = ["forward", "is_taken"]

TOKENS = 2048
"""From so many queries and keys on: on an H100 the forward takes 0.456 instead of 0.524 ms at 2,048
tokens, 0.354 instead of 0.326 at 1,024."""

WIDTHS = (64, 128)
"""Of heads, padded."""

POWERS = range(3, 16)
"""Higher ones amplify rounding more than was measured, lower ones give most keys a weight."""

TOGETHER = 8
"""Heads that run at a time: the keys and values of 8 heads of 64 and 8,192 tokens are 17 MB of the
second-level cache."""


def is_taken(call: Call) -> bool:
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


def forward(call: Call, output: Tensor, scalars: Tensor) -> tuple[Tensor, int]:
    """Writes output (B, H, Lq, Dv) and scalars (5, B·H, Lq) of most blocks of rows.

    Returns:
        Bytes (B·H, blocks): those that it left to the exact kernel; and the rows of a block.
    """
    problem, query, value = call.problem, call.query, call.value
    assert value is not None
    tiles = fast_forward_tiles(call.width)
    blocks = triton.cdiv(problem.query_length, tiles.rows)
    flags = torch.empty((call.pairs, blocks), dtype=torch.int8, device=query.device)
    units = call.unit_keys
    kernels.fast_forward_kernel[(call.pairs * blocks,)](
        query,
        call.key,
        units,
        value,
        output,
        scalars,
        flags,
        call.key_scale,
        *call.strides,
        *call.sizes[:5],
        *call.scales,
        POWER=problem.variant.sharpen,
        CAUSAL=problem.is_causal,
        DIM=call.dim,
        BLOCK_DIM=call.block_dim,
        VALUE_DIM=call.value_dim,
        BLOCK_VALUE=call.block_value,
        TOGETHER=TOGETHER,
        ROWS=tiles.rows,
        KEYS=tiles.keys,
        STAGES=tiles.stages,
        num_warps=tiles.warps,
        maxnreg=tiles.registers,
    )
    return flags, tiles.rows
