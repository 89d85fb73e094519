"""When blocks of keys that a gate leaves nothing of are not read, and which those are."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from ...call import Problem, ScoreTerms
from . import forgotten as kernels
from .compiled import Compiled, compiled_for
from .layout import tile_width
from .tuning import Tiles

__all__ = ["Gated", "first_keys", "last_rows"]

LEAST_KEYS = 4096
"""Of a call that has its forgotten keys looked for. Of 16 heads of 64 on so many, forward and
backward of softmax take 0.73 instead of 0.60 ms where nothing is left out, and 0.50 where 45 % is
(H200)."""

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
    # PyTorch's largest and smallest of what holds NaN is NaN, whose block is read; of a cosine the
    # bound is 1 whatever the key is, so a key of NaN is left out with the others
    lowest = decay[..., :seen].reshape(*decay.shape[:2], whole, keys).amin(-1)
    longest = lowest
    if not problem.variant.cosine:
        lengths = torch.linalg.vector_norm(key[:, :, :seen], dim=-1, dtype=torch.float32)
        longest = lengths.view(*lengths.shape[:2], whole, keys).amax(-1)
    pairs, blocks = problem.batch * problem.heads, triton.cdiv(problem.query_length, tiles.rows)
    firsts = torch.empty((pairs, blocks), dtype=torch.int32, device=decay.device)
    constants = _constants(problem, tiles, scaled=terms.head_scale is not None)
    kernel = compiled_for(
        (kernels.first_keys_kernel, query.dtype, *constants.values()),
        lambda: Compiled(kernels.first_keys_kernel, constants, {}),
    )
    head_scale = decay if terms.head_scale is None else terms.head_scale
    sizes = pairs, problem.heads, problem.groups, problem.query_length, problem.key_length
    scales = float(problem.scale_slope), float(problem.scale_base)
    kernel.start(
        pairs * blocks,
        (query, key, firsts, longest, lowest, head_scale, decay),
        (*query.stride()[:3], *key.stride()[:3], *sizes, problem.window or 0, *scales),
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


def _constants(problem: Problem, tiles: Tiles, *, scaled: bool) -> dict[str, Any]:
    variant = problem.variant
    return {
        "SCORE": "cosine" if variant.cosine else variant.score,
        "POSITIVITY": variant.positivity,
        "HAS_HEAD_SCALE": scaled,
        "HAS_WINDOW": problem.window is not None,
        "DIM": problem.dim,
        "BLOCK_DIM": tile_width(problem.dim),
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "AT_ONCE": AT_ONCE,
    }


def _has_bound(problem: Problem, terms: ScoreTerms) -> bool:
    """What is added by distance can be anything, and relu has none: see `forgotten`."""
    return not terms.depends_on_distance and problem.variant.positivity != "relu"
