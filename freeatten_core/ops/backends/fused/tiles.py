"""Where tiles lie: which keys a block of rows sees, which rows see a block of keys, and loads."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "INTERPRETED",
    "from_first",
    "keys_seen",
    "load_tile",
    "narrow",
    "own_vectors",
    "placed",
    "product",
    "rows_seeing",
    "store_tile",
    "visible_count",
    "without_hidden",
]

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def product(a, b, sums):
    """`a @ b + sums` in float32; products of float32 are not rounded to TF32."""
    if INTERPRETED:  # it would multiply the bits of bfloat16 numbers
        return tl.dot(a.to(tl.float32), b.to(tl.float32), sums)
    else:
        return tl.dot(a, b, sums, input_precision="ieee")


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """x, float32, rounded to `dtype`."""
    if INTERPRETED and dtype == tl.bfloat16:  # it would cut the bits off
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(dtype)


@triton.jit
def placed(place, pairs, blocks, TOGETHER: tl.constexpr):
    """Head, and how many of its blocks come before, of a place in the order of all: so many heads
    TOGETHER that what they read stays in the cache, and the first blocks of these first."""
    first = place // (blocks * TOGETHER) * TOGETHER
    beside = tl.minimum(pairs - first, TOGETHER)
    within = place - first * blocks
    return first + within % beside, within // beside


@triton.jit
def without_hidden(mixed, v, x, FIRST: tl.constexpr):
    """Values of a tile in which rows see some keys alone: 0 · NaN is NaN, and a value that a row
    does not see must not reach it.

    Args:
        mixed: what the rows have mixed so far, (ROWS, Dv).
        v: (KEYS, Dv).
        x: (ROWS, KEYS), −inf where a row does not see a key.
        FIRST: whether the values are cleared first or last, which decides how many registers are
            left to the sweeps without a hidden key: see `mix`.

    Returns:
        mixed, NaN where a row sees a value that is not finite; v without those.
    """
    broken = ~(tl.abs(v.to(tl.float32)) < float("inf"))
    if FIRST:
        v = tl.where(broken, 0.0, v).to(v.dtype)
    seen = tl.where(x != float("-inf"), 1.0, 0.0).to(v.dtype)
    reached = product(seen, tl.where(broken, 1.0, 0.0).to(v.dtype), None)
    if not FIRST:
        v = tl.where(broken, 0.0, v).to(v.dtype)
    return tl.where(reached > 0, float("nan"), mixed), v


@triton.jit
def load_tile(
    base,
    start,
    stride,
    length,
    WIDTH: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    COUNT: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Vectors start … start + COUNT of a (length, WIDTH) matrix; 0 outside it if MASKED."""
    index = tl.arange(0, COUNT)
    dim = tl.arange(0, BLOCK_WIDTH)
    # a product of start and stride can pass 2^31
    pointers = base + tl.cast(start, tl.int64) * stride + (index[:, None] * stride + dim[None, :])
    within = (start + index < length)[:, None]
    if MASKED and WIDTH != BLOCK_WIDTH:
        return tl.load(pointers, within & (dim < WIDTH)[None, :], other=0.0)
    elif MASKED:
        return tl.load(pointers, within, other=0.0)
    elif WIDTH != BLOCK_WIDTH:
        return tl.load(pointers, (dim < WIDTH)[None, :], other=0.0)
    else:
        return tl.load(pointers)


@triton.jit
def own_vectors(base, own, stride, inside, WIDTH: tl.constexpr, BLOCK_WIDTH: tl.constexpr):
    """Vectors `own` of a (length, WIDTH) matrix, those of rows' own keys; 0 for rows that have
    none."""
    dim = tl.arange(0, BLOCK_WIDTH)
    pointers = base + own.to(tl.int64)[:, None] * stride + dim[None, :]
    exists = (inside & (own >= 0))[:, None] & (dim < WIDTH)[None, :]
    return tl.load(pointers, exists, other=0.0)


@triton.jit
def store_tile(
    base,
    tile,
    start,
    stride,
    length,
    WIDTH: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    COUNT: tl.constexpr,
):
    """Write vectors start … start + COUNT of a (length, WIDTH) matrix, as far as they exist."""
    index = tl.arange(0, COUNT)
    dim = tl.arange(0, BLOCK_WIDTH)
    pointers = base + tl.cast(start, tl.int64) * stride + (index[:, None] * stride + dim[None, :])
    within = (start + index < length)[:, None] & (dim < WIDTH)[None, :]
    tl.store(pointers, narrow(tile, base.dtype.element_ty), within)


@triton.jit
def visible_count(
    row, query_length, key_length, window, CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr
):
    """`N` of each row, float32."""
    if CAUSAL:
        count = tl.maximum(row + 1 + key_length - query_length, 0)
        if HAS_WINDOW:
            count = tl.minimum(count, window)
        return count.to(tl.float32)
    else:
        return tl.full(row.shape, 1.0, tl.float32) * key_length


@triton.jit
def keys_seen(
    start,
    query_length,
    key_length,
    window,
    CAUSAL: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The keys of ROWS rows from `start`.

    Returns:
        low, full_low, full_high, high: at least one row sees low … high, every row sees
        full_low … full_high. All but `high` are multiples of KEYS.
    """
    shift = key_length - query_length
    low = start * 0
    full_low = low
    high = key_length + low
    full_high = high // KEYS * KEYS
    if CAUSAL:
        high = tl.maximum(0, tl.minimum(high, start + ROWS + shift))
        full_high = tl.maximum(0, tl.minimum(high, start + shift + 1)) // KEYS * KEYS
    if HAS_WINDOW:
        low = tl.maximum(0, start + shift + 1 - window) // KEYS * KEYS
        full_low = tl.cdiv(tl.maximum(0, start + ROWS + shift - window), KEYS) * KEYS
        full_low = tl.minimum(tl.maximum(low, full_low), tl.cdiv(high, KEYS) * KEYS)
    return low, full_low, tl.maximum(full_low, full_high), high


@triton.jit
def from_first(firsts, block, low, full_low, full_high, SKIPS: tl.constexpr, KEYS: tl.constexpr):
    """`low`, `full_low` and `full_high` of a block of rows without the keys that it does not read,
    if SKIPS; `firsts` is of `forgotten.first_keys_kernel`."""
    if SKIPS:
        first = tl.load(firsts + block)
        # loads in the sweeps are as wide as what their start is known to divide by
        low = tl.multiple_of(tl.maximum(low, first), KEYS)
        full_low = tl.multiple_of(tl.maximum(full_low, first), KEYS)
        full_high = tl.multiple_of(tl.maximum(full_high, first), KEYS)
    return low, full_low, full_high


@triton.jit
def rows_seeing(
    start,
    query_length,
    key_length,
    window,
    CAUSAL: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The rows that see KEYS keys from `start`.

    Returns:
        low, full_low, full_high, high: at least one of the keys is seen by low … high, all are
        seen by full_low … full_high. All but `high` are multiples of ROWS.
    """
    shift = key_length - query_length
    low = start * 0
    full_low = low
    high = query_length + low
    full_high = tl.cdiv(high, ROWS) * ROWS
    if CAUSAL:
        low = tl.maximum(0, start - shift) // ROWS * ROWS
        full_low = tl.cdiv(tl.maximum(0, start + KEYS - 1 - shift), ROWS) * ROWS
        full_low = tl.minimum(full_low, tl.cdiv(high, ROWS) * ROWS)
    if HAS_WINDOW:
        high = tl.maximum(0, tl.minimum(high, start + KEYS - 1 - shift + window))
        full_high = tl.maximum(0, tl.minimum(high, start - shift + window)) // ROWS * ROWS
        full_low = tl.minimum(full_low, tl.cdiv(high, ROWS) * ROWS)
    return low, full_low, tl.maximum(full_low, full_high), high
