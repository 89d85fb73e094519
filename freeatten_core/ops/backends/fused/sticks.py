"""Stick-breaking: keys in blocks from the nearest to the farthest, with what they leave carried on.

In base 2: `left_j = log2(1 + 2^s_j)`, and a weight is `2^(s_j − Σ_{j≤k<i} left_k)`. A row needs no
maximum and no second sweep, and once 2^STOP of it is left its farther keys are left out: their
weights together are below what float32 adds to 1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .stages import LN_2
from .tiles import (
    keys_seen,
    load_tile,
    narrow,
    own_vectors,
    product,
    rows_seeing,
    store_tile,
    without_hidden,
)

__all__ = [
    "STOP",
    "from_here",
    "stick_carry_kernel",
    "stick_forward_kernel",
    "stick_gradients",
    "stick_key_kernel",
    "stick_left",
    "stick_query_kernel",
    "stick_scores",
    "stick_weights",
]

STOP = tl.constexpr(-40.0)
"""`log2` of what is left of a row when its sweep ends."""


@triton.jit
def stick_scores(
    q, k, start, own, key_length, window, scale, HAS_WINDOW: tl.constexpr, KEYS: tl.constexpr
):
    """Scores in base 2, (ROWS, KEYS): −inf on keys that take nothing, the row's own among them."""
    keys = (start + tl.arange(0, KEYS))[None, :]
    x = product(q, tl.trans(k), None) * scale
    breaks = (keys < own[:, None]) & (keys < key_length)
    if HAS_WINDOW:
        breaks = breaks & (keys > own[:, None] - window)
    return tl.where(breaks, x, float("-inf"))


@triton.jit
def stick_left(x):
    """`log2(1 + 2^x)`; 0 for −inf."""
    return tl.maximum(x, 0.0) + tl.log2(1 + tl.exp2(-tl.abs(x)))


@triton.jit
def stick_weights(x, carry):
    """Of a tile (ROWS, KEYS) its weights, and `stick_left` of its scores.

    Args:
        carry: `log2` of what the nearer keys left, (ROWS,).
    """
    left = stick_left(x)
    return tl.exp2(x - from_here(left) + carry[:, None]), left


@triton.jit
def from_here(x):
    """Sums over a row from every key to the nearest of the block, itself included."""
    return tl.cumsum(x, 1, reverse=True)


@triton.jit
def stick_gradients(x, carry, farther, grad_weight):
    """Of a tile (ROWS, KEYS) its weights, what each gives of `Σ_j w_j dw_j`, and the gradient of
    its scores, `w_j dw_j − σ(s_j) F_j`, F of the row's own key and all up to j from afar.

    Args:
        carry: `log2` of what the nearer keys left, (ROWS,).
        farther: F before the tile, (ROWS,).
        grad_weight: `dw`.
    """
    w, left = stick_weights(x, carry)
    given = w * grad_weight
    share = tl.exp2(x - left)
    return w, given, given - share * (farther[:, None] + tl.cumsum(given, 1))


@triton.jit
def stick_forward_kernel(
    query,
    key,
    value,
    output,
    rest,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    value_batch,
    value_head,
    value_token,
    pairs,
    heads,
    groups,
    query_length,
    key_length,
    window,
    scale,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Output (B, H, Lq, Dv), contiguous, and what is left to a row's own key, (B·H, Lq)."""
    block = tl.cdiv(query_length, ROWS) - 1 - tl.program_id(0) // pairs
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    own = row + key_length - query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)

    low, full_low, full_high, high = keys_seen(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    carry = tl.zeros((ROWS,), tl.float32)
    mixed = tl.zeros((ROWS, BLOCK_VALUE), tl.float32)
    at = tl.cdiv(high, KEYS) * KEYS - KEYS
    while at >= low:
        k = load_tile(key_base, at, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
        x = stick_scores(q, k, at, own, key_length, window, scale, HAS_WINDOW, KEYS)
        w, left = stick_weights(x, carry)
        v = load_tile(value_base, at, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, True)
        if (at < full_low) | (at >= full_high):
            mixed, v = without_hidden(mixed, v, x, True)
        mixed = product(narrow(w, v.dtype), v, mixed)
        carry -= tl.sum(left, 1)
        at -= KEYS
        at = tl.where(tl.max(carry) < STOP, low - KEYS, at)

    inside = row < query_length
    kept = tl.where(own >= 0, tl.exp2(carry), 0.0)
    v = own_vectors(value_base, own, value_token, inside, VALUE_DIM, BLOCK_VALUE)
    mixed += kept[:, None] * v.to(tl.float32)
    tl.store(rest + pair.to(tl.int64) * query_length + row, kept, inside)
    base = output + pair.to(tl.int64) * query_length * VALUE_DIM
    store_tile(base, mixed, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS)


@triton.jit
def stick_carry_kernel(
    query,
    key,
    carries,
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
    scale,
    first,
    stop,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """`log2` of what is left of rows first … stop before every block of keys, the first field of
    carries (2, B·H, ⌈Lk / KEYS⌉, stop − first); blocks that are left out keep what they hold."""
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    start = first + tl.program_id(0) // pairs * ROWS
    row = start + tl.arange(0, ROWS)
    own = row + key_length - query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    low, _, _, high = keys_seen(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    width = stop - first
    carried = carries + pair.to(tl.int64) * tl.cdiv(key_length, KEYS) * width + (row - first)
    carry = tl.zeros((ROWS,), tl.float32)
    at = tl.cdiv(high, KEYS) * KEYS - KEYS
    while at >= low:
        tl.store(carried + tl.cast(at // KEYS, tl.int64) * width, carry, row < stop)
        k = load_tile(key_base, at, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
        x = stick_scores(q, k, at, own, key_length, window, scale, HAS_WINDOW, KEYS)
        carry -= tl.sum(stick_left(x), 1)
        at -= KEYS
        at = tl.where(tl.max(carry) < STOP, low - KEYS, at)


@triton.jit
def stick_query_kernel(
    query,
    key,
    value,
    rest,
    grad_output,
    grad_query,
    carries,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    value_batch,
    value_head,
    value_token,
    pairs,
    heads,
    groups,
    query_length,
    key_length,
    window,
    scale,
    first,
    stop,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The gradient of rows first … stop of query, and for `stick_key_kernel`, in the second field
    of carries, what the row's own key and those before every block give of `Σ_j w_j do·v_j`.

    From the farthest key to the nearest, so that what a far key is pulled by is summed and not the
    small difference of two sums.
    """
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    start = first + tl.program_id(0) // pairs * ROWS
    row = start + tl.arange(0, ROWS)
    own = row + key_length - query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head
    at_rows = pair.to(tl.int64) * query_length
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    grads = load_tile(
        grad_output + at_rows * VALUE_DIM, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE,
        ROWS, True,
    )  # fmt: skip
    inside = row < stop
    kept = own_vectors(value_base, own, value_token, inside, VALUE_DIM, BLOCK_VALUE)
    farther = tl.sum(grads.to(tl.float32) * kept.to(tl.float32), 1)
    farther *= tl.load(rest + at_rows + row, inside, other=0.0)

    low, _full_low, _full_high, high = keys_seen(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    blocks = tl.cdiv(key_length, KEYS)
    width = stop - first
    field = tl.cast(pairs, tl.int64) * blocks * width
    carried = carries + pair.to(tl.int64) * blocks * width + (row - first)
    grad = tl.zeros((ROWS, BLOCK_DIM), tl.float32)
    for at in range(low, high, KEYS):
        place = carried + tl.cast(at // KEYS, tl.int64) * width
        carry = tl.load(place, inside, other=float("-inf"))
        if tl.max(carry) > float("-inf"):
            tl.store(place + field, farther, inside)
            k = load_tile(key_base, at, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
            v = load_tile(
                value_base, at, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, True
            )
            x = stick_scores(q, k, at, own, key_length, window, scale, HAS_WINDOW, KEYS)
            _w, given, g = stick_gradients(x, carry, farther, product(grads, tl.trans(v), None))
            grad = product(narrow(g, k.dtype), k, grad)
            farther += tl.sum(given, 1)
    base = grad_query + at_rows * DIM
    store_tile(base, grad * (scale * LN_2), start, DIM, stop, DIM, BLOCK_DIM, ROWS)


@triton.jit
def stick_key_kernel(
    query,
    key,
    value,
    grad_output,
    carries,
    grad_key,
    grad_value,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    value_batch,
    value_head,
    value_token,
    pairs,
    heads,
    groups,
    query_length,
    key_length,
    window,
    scale,
    first,
    stop,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Adds what rows first … stop give to the gradients of key and value, float32, contiguous."""
    blocks = tl.cdiv(key_length, KEYS)
    kv_heads = heads // groups
    key_pair = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    start = block * KEYS
    batch, kv_head = key_pair // kv_heads, key_pair % kv_heads
    key_base = key + batch * key_batch + kv_head * key_head
    value_base = value + batch * value_batch + kv_head * value_head
    k = load_tile(key_base, start, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
    v = load_tile(value_base, start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, True)
    low, _full_low, _full_high, high = rows_seeing(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    low = first + tl.maximum(0, low - first) // ROWS * ROWS
    high = tl.minimum(high, stop)
    width = stop - first
    field = tl.cast(pairs, tl.int64) * blocks * width
    of_key = tl.zeros((KEYS, BLOCK_DIM), tl.float32)
    of_value = tl.zeros((KEYS, BLOCK_VALUE), tl.float32)
    for group in range(0, groups):
        head = kv_head * groups + group
        pair = batch * heads + head
        query_base = query + batch * query_batch + head * query_head
        grad_base = grad_output + pair * query_length * VALUE_DIM
        carried = carries + (pair * blocks + block) * width
        for at in range(low, high, ROWS):
            row = at + tl.arange(0, ROWS)
            inside = row < stop
            carry = tl.load(carried + row - first, inside, other=float("-inf"))
            farther = tl.load(carried + field + row - first, inside, other=0.0)
            if tl.max(carry) > float("-inf"):
                q = load_tile(query_base, at, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
                grads = load_tile(
                    grad_base, at, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS, True
                )
                own = row + key_length - query_length
                x = stick_scores(q, k, start, own, key_length, window, scale, HAS_WINDOW, KEYS)
                w, _given, g = stick_gradients(x, carry, farther, product(grads, tl.trans(v), None))
                g = tl.where((carry > float("-inf"))[:, None], g, 0.0)
                of_value = product(tl.trans(narrow(w, v.dtype)), grads, of_value)
                of_key = product(tl.trans(narrow(g, k.dtype)), q, of_key)
    index = start + tl.arange(0, KEYS)
    key_at = grad_key + key_pair * key_length * DIM
    value_at = grad_value + key_pair * key_length * VALUE_DIM
    dim = tl.arange(0, BLOCK_DIM)
    places = index[:, None] * DIM + dim[None, :]
    exists = (index < key_length)[:, None] & (dim < DIM)[None, :]
    before = tl.load(key_at + places, exists, other=0.0)
    tl.store(key_at + places, before + of_key * (scale * LN_2), exists)
    dim = tl.arange(0, BLOCK_VALUE)
    places = index[:, None] * VALUE_DIM + dim[None, :]
    exists = (index < key_length)[:, None] & (dim < VALUE_DIM)[None, :]
    before = tl.load(value_at + places, exists, other=0.0)
    tl.store(value_at + places, before + of_value, exists)
