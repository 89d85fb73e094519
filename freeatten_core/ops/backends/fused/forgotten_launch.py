"""When blocks of keys that a gate leaves nothing of are not read, and which those are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
from torch import Tensor

from . import forgotten as kernels
from .tuning import Tiles

if TYPE_CHECKING:
    from .launch import Call

__all__ = ["first_keys", "last_rows"]

LEAST_KEYS = 4096
"""Of a call that has its forgotten keys looked for. Not tuned."""

AT_ONCE = 32
"""Blocks of keys that are looked at together. Not tuned."""


def first_keys(call: Call, tiles: Tiles) -> Tensor | None:
    """The first key that every block of rows reads, a multiple of the tiles' keys, int32
    (B·H, blocks of the tiles' rows); None where all are read."""
    if not _looks(call):
        return None
    problem, decay, keys = call.problem, call.decay, tiles.keys
    assert decay is not None
    whole = problem.key_length // keys
    seen = whole * keys
    # PyTorch's largest and smallest of what holds NaN is NaN, whose block is read
    lowest = decay[..., :seen].reshape(*decay.shape[:2], whole, keys).amin(-1)
    longest = lowest
    if not problem.variant.cosine:
        lengths = torch.linalg.vector_norm(call.key[:, :, :seen], dim=-1, dtype=torch.float32)
        longest = lengths.view(*lengths.shape[:2], whole, keys).amax(-1)
    blocks = triton.cdiv(problem.query_length, tiles.rows)
    firsts = torch.empty((call.pairs, blocks), dtype=torch.int32, device=decay.device)
    kernels.first_keys_kernel[(call.pairs * blocks,)](
        call.query,
        call.key,
        firsts,
        longest,
        lowest,
        decay if call.head_scale is None else call.head_scale,
        decay,
        *call.strides[:6],
        *call.sizes,
        *call.scales,
        SCORE=call.stages["SCORE"],
        POSITIVITY=problem.variant.positivity,
        HAS_HEAD_SCALE=call.head_scale is not None,
        HAS_WINDOW=problem.window is not None,
        DIM=call.dim,
        BLOCK_DIM=call.block_dim,
        ROWS=tiles.rows,
        KEYS=keys,
        AT_ONCE=AT_ONCE,
    )
    return firsts


def last_rows(call: Call, tiles: Tiles) -> Tensor | None:
    """Up to which row every block of the tiles' keys is read, int32 (B·H, blocks); a multiple of
    the tiles' rows. None where all are read."""
    firsts = first_keys(call, tiles)
    if firsts is None:
        return None
    # of a block of rows and all after it
    firsts = firsts.flip(-1).cummin(-1).values.flip(-1).contiguous()
    edges = torch.arange(
        0, call.problem.key_length, tiles.keys, dtype=torch.int32, device=firsts.device
    )
    edges = edges.expand(len(firsts), -1).contiguous()
    return torch.searchsorted(firsts, edges, right=True, out_int32=True).mul_(tiles.rows)


def _looks(call: Call) -> bool:
    """Whether there is a gate, and a bound on what it leaves of far keys.

    What is added by distance can be anything, and relu has no bound: see `forgotten`.
    """
    return (
        call.decay is not None
        and call.distance is None
        and call.problem.variant.positivity != "relu"
        and call.problem.key_length >= LEAST_KEYS
    )
