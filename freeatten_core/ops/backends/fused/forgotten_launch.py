"""When blocks of keys that a gate leaves nothing of are not read, and which those are."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ...call import Problem, ScoreTerms
from . import forgotten as kernels
from .layout import tile_width
from .tuning import Tiles

__all__ = ["Gated", "first_keys", "last_rows"]

LEAST_KEYS = 4096
"""Of a call that has its forgotten keys looked for. Not tuned."""

AT_ONCE = 32
"""Blocks of keys that are looked at together. Not tuned."""

Gated = tuple[Problem, Tensor, Tensor, ScoreTerms]
"""A call, its query and key as kernels read them, and its terms, of which `decay` and `head_scale`
are float32 and contiguous."""


def first_keys(call: Gated, tiles: Tiles) -> Tensor | None:
    """The first key that every block of rows reads, a multiple of the tiles' keys, int32
    (B·H, blocks of the tiles' rows); None where all are read."""
    problem, query, key, terms = call
    decay, keys = terms.decay, tiles.keys
    if decay is None or not _has_bound(problem, terms) or problem.key_length < LEAST_KEYS:
        return None
    whole = problem.key_length // keys
    seen = whole * keys
    # PyTorch's largest and smallest of what holds NaN is NaN, whose block is read
    lowest = decay[..., :seen].reshape(*decay.shape[:2], whole, keys).amin(-1)
    longest = lowest
    if not problem.variant.cosine:
        lengths = torch.linalg.vector_norm(key[:, :, :seen], dim=-1, dtype=torch.float32)
        longest = lengths.view(*lengths.shape[:2], whole, keys).amax(-1)
    pairs, blocks = problem.batch * problem.heads, triton.cdiv(problem.query_length, tiles.rows)
    firsts = torch.empty((pairs, blocks), dtype=torch.int32, device=decay.device)
    kernels.first_keys_kernel[(pairs * blocks,)](
        query,
        key,
        firsts,
        longest,
        lowest,
        decay if terms.head_scale is None else terms.head_scale,
        decay,
        *query.stride()[:3],
        *key.stride()[:3],
        pairs,
        problem.heads,
        problem.groups,
        problem.query_length,
        problem.key_length,
        problem.window or 0,
        float(problem.scale_slope),
        float(problem.scale_base),
        SCORE="cosine" if problem.variant.cosine else problem.variant.score,
        POSITIVITY=problem.variant.positivity,
        HAS_HEAD_SCALE=terms.head_scale is not None,
        HAS_WINDOW=problem.window is not None,
        DIM=problem.dim,
        BLOCK_DIM=tile_width(problem.dim),
        ROWS=tiles.rows,
        KEYS=keys,
        AT_ONCE=AT_ONCE,
    )
    return firsts


def last_rows(call: Gated, tiles: Tiles) -> Tensor | None:
    """Up to which row every block of the tiles' keys is read, int32 (B·H, blocks); a multiple of
    the tiles' rows. None where all are read."""
    firsts = first_keys(call, tiles)
    if firsts is None:
        return None
    # of a block of rows and all after it
    firsts = firsts.flip(-1).cummin(-1).values.flip(-1).contiguous()
    edges = torch.arange(0, call[0].key_length, tiles.keys, dtype=torch.int32, device=firsts.device)
    edges = edges.expand(len(firsts), -1).contiguous()
    return torch.searchsorted(firsts, edges, right=True, out_int32=True).mul_(tiles.rows)


def _has_bound(problem: Problem, terms: ScoreTerms) -> bool:
    """What is added by distance can be anything, and relu has none: see `forgotten`."""
    return not terms.depends_on_distance and problem.variant.positivity != "relu"
