"""The launch of the statistics of rows."""

from __future__ import annotations

import triton
from torch import Tensor

from . import statistics as statistics_kernels
from .launch import Call, or_any
from .tuning import query_tiles

__all__ = ["describe"]


def describe(call: Call, scalars: Tensor) -> Tensor:
    """`statistics.FIELDS` of every row, (len(FIELDS), B·H, Lq), from the forward's scalars."""
    problem, query = call.problem, call.query
    described = call.empty_rows(len(statistics_kernels.FIELDS))
    tiles = query_tiles(problem.variant, call.width, query.dtype)
    statistics_kernels.statistics_kernel[
        (call.pairs * triton.cdiv(problem.query_length, tiles.rows),)
    ](
        query,
        call.key,
        scalars,
        described,
        call.key_scale,
        or_any(call.head_scale, scalars),
        or_any(call.distance, scalars),
        or_any(call.decay, scalars),
        *call.strides[:6],
        *call.sizes,
        *call.scales,
        NORMALISE=call.normalise,
        SCALED=call.sweeps == 2,
        HAS_HEAD_SCALE=call.head_scale is not None,
        **call.stages,
        **call.distances,
        ROWS=tiles.rows,
        KEYS=tiles.keys,
        num_warps=tiles.warps,
        maxnreg=tiles.registers,
    )
    return described
