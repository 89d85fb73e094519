"""What every row's weights look like where keys break sticks: one sweep, that of the forward."""

from __future__ import annotations

import triton
import triton.language as tl

from .statistics import SMALL_WEIGHT, add_weights, store_fields
from .sticks import STOP, stick_scores, stick_weights
from .tiles import keys_seen, load_tile, visible_count

__all__ = ["stick_statistics_kernel"]


@triton.jit
def stick_statistics_kernel(
    query,
    key,
    described,
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
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """`statistics.FIELDS` of every row, (len(FIELDS), B·H, Lq) float32; what is left counts as the
    weight of the row's own key."""
    block = tl.cdiv(query_length, ROWS) - 1 - tl.program_id(0) // pairs
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    own = row + key_length - query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    low, _, _, high = keys_seen(
        start, query_length, key_length, window, True, HAS_WINDOW, ROWS, KEYS
    )
    count = visible_count(row, query_length, key_length, window, True, HAS_WINDOW)
    mass = tl.zeros((ROWS,), tl.float32)
    logs, squares, distances, rounded, largest = mass, mass, mass, mass, mass
    first, small, carry = mass, mass, mass
    least = mass + SMALL_WEIGHT
    at = tl.cdiv(high, KEYS) * KEYS - KEYS
    while at >= low:
        k = load_tile(key_base, at, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
        x = stick_scores(q, k, at, own, key_length, window, scale, HAS_WINDOW, KEYS)
        w, left = stick_weights(x, carry)
        keys = (at + tl.arange(0, KEYS))[None, :]
        mass, logs, squares, distances, rounded, largest, first, small = add_weights(
            mass, logs, squares, distances, rounded, largest, first, small, w, keys, own,
            x > float("-inf"), least, q.dtype,
        )  # fmt: skip
        carry -= tl.sum(left, 1)
        at -= KEYS
        if tl.max(carry) < STOP:
            # the weights of keys that are not read are below 2^STOP
            oldest = tl.maximum(own - window + 1, 0) if HAS_WINDOW else 0
            small += tl.maximum(tl.minimum(at + KEYS, own) - oldest, 0).to(tl.float32)
            at = low - KEYS

    kept = tl.where(own >= 0, tl.exp2(carry), 0.0)[:, None]
    mass, logs, squares, distances, rounded, largest, first, small = add_weights(
        mass, logs, squares, distances, rounded, largest, first, small, kept, own[:, None], own,
        (own >= 0)[:, None], least, q.dtype,
    )  # fmt: skip
    field = tl.cast(pairs, tl.int64) * query_length
    store_fields(
        described + pair.to(tl.int64) * query_length + row, field, row < query_length, mass, logs,
        squares, distances, rounded, largest, first, mass * 0, small, mass * 0 + 1, count,
    )  # fmt: skip
