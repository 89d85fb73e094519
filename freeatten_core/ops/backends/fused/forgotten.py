"""Which keys a block of rows has forgotten: those that a gate leaves so little of that they are
not read.

A row's weights are divided by a sum that holds what its own key gives, which no gate lowers. So

    weight_j ≤ f(top_j) · 2^fall_j / f(own)        fall_j = (c_i − c_j) log2 e

with `top_j` the largest score that keys as long as the longest of j's block can have with the row,
`|scale| ‖q‖ ‖k‖`. A block of keys is left out where that, times the number of keys that the row
sees, is below `2^LEFT_OUT` in every row of the block of rows: all that a row leaves out together
is below what float32 adds to its sum. Sharpening then gives those keys exactly nothing, and the
slope of `exp`, softplus and sigmoid is at most 1.5 times their value, so that the gradients lose no
more. The slope of relu is 1 where its value is 0: it has no such bound, and leaves nothing out.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .stages import LOG2_E, NORM_EPS, norm, own_decays, positive, row_scale, unit_of
from .tiles import keys_seen, load_tile, own_vectors, visible_count

__all__ = ["first_keys_kernel", "log_positive"]

LEFT_OUT = tl.constexpr(-26.0)
"""`log2` of the share that is left out of a row, 2^−24 with room for the rounding of the bound."""


@triton.jit
def log_positive(x, POSITIVITY: tl.constexpr):
    """`log2 f` of scores in base 2."""
    if POSITIVITY == "exp":
        return x
    else:
        return tl.log2(positive(x, 1.0, 0.0, POSITIVITY, 7, False))


@triton.jit
def first_keys_kernel(
    query,
    key,
    firsts,
    longest,
    lowest,
    head_scale,
    decay,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    pairs,
    heads,
    groups,
    query_length,
    key_length,
    window,
    scale_slope,
    scale_base,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    HAS_HEAD_SCALE: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    """The first key that ROWS causal rows read, a multiple of KEYS, int32 (B·H, ⌈Lq / ROWS⌉).

    Args:
        longest: ‖k‖ of the longest key of every whole block of KEYS keys, (B·Hkv, Lk // KEYS).
        lowest: the lowest `c` of every such block, (B·H, Lk // KEYS).
    """
    blocks = tl.cdiv(query_length, ROWS)
    block = tl.program_id(0) // pairs
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    own = row + key_length - query_length
    inside = (row < query_length) & (own >= 0)
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    k = own_vectors(key_base, own, key_token, inside, DIM, BLOCK_DIM)
    own_decay = own_decays(decay + pair.to(tl.int64) * key_length, own, key_length, "score")

    count = tl.maximum(visible_count(row, query_length, key_length, window, True, HAS_WINDOW), 1.0)
    scale = row_scale(count, scale_slope, scale_base) * unit_of(POSITIVITY)
    if HAS_HEAD_SCALE:
        scale *= tl.load(head_scale + head)
    bias = count * 0
    if SCORE == "dot-log-n":
        bias = tl.log2(count)
    score = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1) * scale
    reach = tl.abs(scale)
    if SCORE == "cosine":
        score /= tl.maximum(norm(q), NORM_EPS) * tl.maximum(norm(k), NORM_EPS)
    else:
        reach *= norm(q)
    room = log_positive(score - bias, POSITIVITY) - tl.log2(count) + LEFT_OUT

    low, _, _, high = keys_seen(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    whole = key_length // KEYS
    longest += (batch * (heads // groups) + head // groups) * whole
    lowest += pair.to(tl.int64) * whole
    at = low // KEYS
    last = high // KEYS
    while at < last:
        index = at + tl.arange(0, AT_ONCE)
        exists = index < last
        fall = (own_decay[:, None] - tl.load(lowest + index, exists, other=0.0)[None, :]) * LOG2_E
        if SCORE == "cosine":
            top = reach[:, None] + fall * 0
        else:
            top = reach[:, None] * tl.load(longest + index, exists, other=0.0)[None, :]
        left = log_positive(top - bias[:, None], POSITIVITY) + fall
        # of what is not a number nothing is less: it is read
        forgotten = (left < room[:, None]) | ~inside[:, None]
        kept = exists & (tl.min(forgotten.to(tl.int32), 0) == 0)
        step = tl.min(tl.where(kept, tl.arange(0, AT_ONCE), AT_ONCE), 0)
        at += step
        last = tl.where(step < AT_ONCE, at, last)
    tl.store(firsts + pair.to(tl.int64) * blocks + block, tl.minimum(at, high // KEYS) * KEYS)
