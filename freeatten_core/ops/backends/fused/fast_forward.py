"""LSSAR's forward with coarse sums in the first sweep, and scores for softplus in the second.

The first sweep needs the sum of a row alone, in which errors of single keys cancel: softplus comes
from two numbers at a time in half precision, without a special function. In the second a weight is
above zero only where softplus is above the row's mean, and there it is next to the score itself. A
block of rows for which this is too coarse is flagged, and `forward.forward_kernel` computes it.

Keys come divided by their norm, in float16. Queries are multiplied with a power of two alone, which
rounds nothing, so that a product is a score by SPAN and by a factor of the row from 1 to 2, which
costs no instruction in either sweep. Where sharpening would amplify the rounding of the keys the
second sweep takes the keys themselves, and a multiplication more.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .fast_backward import clamped, is_bent, is_level
from .forward import LEAST_SCALE, key_scales
from .stages import NORM_EPS, norm, offset, power, row_scale, unit_of
from .tiles import (
    INTERPRETED,
    keys_seen,
    load_tile,
    narrow,
    placed,
    product,
    store_tile,
    visible_count,
)

__all__ = [
    "SPAN",
    "UNEVEN",
    "add_up_coarse",
    "by_lane",
    "coarse_softplus",
    "coarse_softplus_of_one",
    "coarse_sums",
    "factors_of_row",
    "fast_forward_kernel",
    "finish",
    "halves_of",
    "judged",
    "lane_sums",
    "largest_bits",
    "lifted",
    "mix_exact_keys",
    "mix_fast",
    "power_below",
    "power_of_two",
    "power_of_weights",
    "products",
    "rounded",
    "scaled_sum",
    "singles_of",
    "softplus_of_row",
    "sum_of_pairs",
    "sums_of_pairs",
    "uneven_kernel",
    "unevenness",
]

SPAN = tl.constexpr(9.31)
"""From this many bits below the score on, `coarse_softplus` takes softplus for the score."""

KEY_ROUNDING = tl.constexpr(2e-4)
"""Of a number rounded to float16, relative, on average."""

MOST_NOISE = tl.constexpr(2e-3)
"""Of weights, relative, that rounding of keys may make in the rows of a block on average: the
outputs' own rounding to bfloat16 makes 1.7e-3."""

ROUNDED_UP = tl.constexpr(1 + 2**-11)
"""How far a score may lie above the largest with rounded keys; beyond, it is cut off."""

LEAST_STRAIGHT = tl.constexpr(8)
"""A lower power leaves weights near the mean in every row."""

LEAST_BY_LOGARITHM = tl.constexpr(9)
"""A lower power takes fewer than four multiplications. One number in four by its logarithm took the
kernel in Gluon from 1.679 to 1.607 ms with heads of 128 and from 1.094 to 1.083 with 64; one in two
Triton's from 1.990 to 1.945, and with 64 no time (8,192 tokens, p = 15, H200)."""

UNEVEN = tl.constexpr(2)
"""The flag of a block whose second sweep `uneven_kernel` makes; 1 leaves it to the exact kernel."""


@triton.jit
def power_below(x):
    """The largest power of two that is not above x, a positive number; 0 of a subnormal one."""
    return (x.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)


@triton.jit
def unevenness(q, length):
    """`√Σ q̂⁴` of rows (ROWS, D) of a length: how much rounding of single numbers of the keys that
    are along a query does to their scores."""
    squares = q.to(tl.float32) / length[:, None]
    squares *= squares
    return tl.sqrt(tl.sum(squares * squares, 1))


@triton.jit
def factors_of_row(q, count, scale_slope, scale_base, POWER: tl.constexpr):
    """Of rows q (ROWS, D) that see `count` keys.

    Returns:
        near_scale, factor: what a query is multiplied with, a power of two, and what its products
            are to be multiplied with, besides SPAN, to be scores; from 1 to 2.
        reach: by how many scores rounding of the keys moves a score, times POWER.
    """
    scale = tl.maximum(row_scale(count, scale_slope, scale_base) * unit_of("softplus"), LEAST_SCALE)
    length = tl.maximum(norm(q), NORM_EPS)
    reach = scale * (KEY_ROUNDING * POWER) * unevenness(q, length)
    scale = scale / length / SPAN
    near_scale = power_below(scale)
    return near_scale, scale / near_scale, reach


@triton.jit
def judged(total, top, count, reach, inside, POWER: tl.constexpr):
    """What the first sweep says of rows and of their block.

    Args:
        total, top: the sum of softplus, and the largest.
        reach: from `factors_of_row`.
        inside: whether there is such a row.

    Returns:
        highest, off: of every row, u_max and the offset.
        level, uneven, bent: of the block, whether the exact kernel is to compute it, whether keys
            are not to be rounded in the second sweep, and whether softplus is not the score there.
    """
    off = offset(total, top, count)
    highest = count * top / total - off
    level = tl.max((is_level(total, highest, off, count) & inside).to(tl.int32), 0)
    bent = level * 0 + 1
    if POWER >= LEAST_STRAIGHT:
        bent = tl.max((is_bent(total, highest, off, count, POWER) & inside).to(tl.int32), 0)
    noise = tl.where(inside, reach / (top - total / count), 0.0)
    most = tl.sum(inside.to(tl.float32), 0) * (MOST_NOISE * MOST_NOISE)
    uneven = (~(tl.sum(noise * noise, 0) <= most)).to(tl.int32)
    return highest, off, level, uneven, bent


@triton.jit
def products(
    q,
    key_base,
    key_scale,
    stride_token,
    start,
    own,
    key_length,
    CAUSAL: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    SCALED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Of rows q (ROWS, D) and keys start … start + KEYS, −inf where hidden; if SCALED times
    `key_scale`."""
    k = load_tile(key_base, start, stride_token, key_length, DIM, BLOCK_DIM, KEYS, MASKED)
    y = product(q, tl.trans(k), None)
    if SCALED:
        y *= key_scales(key_scale, start, key_length, "cosine", KEYS, MASKED)[None, :]
    if MASKED:
        keys = start + tl.arange(0, KEYS)
        visible = (keys < key_length)[None, :]
        if CAUSAL:
            visible = visible & (keys[None, :] <= own[:, None])
        y = tl.where(visible, y, float("-inf"))
    return y


@triton.jit
def by_lane(x, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """(ROWS, KEYS / 8, 4, 2): a thread of a product's result has one of the four, for every eighth
    key, and both of the two."""
    return tl.reshape(x, (ROWS, KEYS // 8, 4, 2))


@triton.jit
def halves_of(low, high):
    """Two float32 rounded to float16 in one register."""
    return tl.inline_asm_elementwise(
        "cvt.rn.f16x2.f32 $0, $2, $1;", "=r,f,f", [low, high], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def singles_of(pair):
    """The two numbers of a register as float32."""
    return tl.inline_asm_elementwise(
        "{.reg .b16 a, b; mov.b32 {a, b}, $2; cvt.f32.f16 $0, a; cvt.f32.f16 $1, b;}", "=f,=f,r",
        [pair], dtype=(tl.float32, tl.float32), is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def sum_of_pairs(one, other):
    return tl.inline_asm_elementwise(
        "add.f16x2 $0, $1, $2;", "=r,r,r", [one, other], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def scaled_sum(one, factor, other):
    """`one · factor + other` of pairs of float16, each pair in 32 bits, rounded once."""
    return tl.inline_asm_elementwise(
        "fma.rn.f16x2 $0, $1, $2, $3;", "=r,r,r,r", [one, factor, other], dtype=tl.int32,
        is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def softplus_of_row(factor):
    """What `coarse_softplus` takes of rows whose products times SPAN · factor are scores.

    `log2(1 + 2^x)` is `max(x, 0) + 0.9535 h (h⁴ + 0.0519)` with `h = 1 − |x| / SPAN`, at least 0:
    off by at most 3e-3, and on average of scores by 1e-4. Here `h / factor` is raised, and all is
    divided by SPAN · factor.
    """
    fourth = factor * factor * factor * factor
    small = 0.0519 / fourth
    large = (0.9535 / SPAN) * fourth
    if INTERPRETED:
        return (1 / factor).to(tl.float16), large.to(tl.float16), small.to(tl.float16)
    else:
        near = 1 / factor
        return halves_of(near, near), halves_of(large, large), halves_of(small, small)


@triton.jit
def coarse_softplus(pair, near, small):
    """Of two products, float16: what is above 0, NaN of NaN, and what comes to that by `large`."""
    return tl.inline_asm_elementwise(
        """{.reg .b32 h, q, zero; mov.b32 zero, 0; max.NaN.f16x2 $0, $2, zero;
        abs.f16x2 h, $2; neg.f16x2 h, h; add.sat.f16x2 h, h, $3;
        mul.f16x2 q, h, h; fma.rn.f16x2 q, q, q, $4; mul.f16x2 $1, h, q;}""",
        "=r,=r,r,r,r", [pair, near, small], dtype=(tl.int32, tl.int32), is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def coarse_softplus_of_one(y, near, large, small):
    """The sum of both for float16 numbers, for the interpreter."""
    h = tl.minimum(tl.maximum(near - tl.abs(y), 0.0), 1.0)
    q = h * h
    q = q * q + small
    return h * q * large + tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sums_of_pairs(pairs, near, large, small):
    """Sums of softplus over the first of the two dimensions that pairs of products, in float16,
    have besides their rows."""
    above, beside = coarse_softplus(pairs, near[:, None, None], small[:, None, None])
    # apart, so that a sum takes the last multiplication with it
    above = tl.reduce(above, 1, sum_of_pairs)
    beside = tl.reduce(beside, 1, sum_of_pairs)
    # the largest of one, which leaves a dimension of the sums' layout
    by_row = tl.max(large[:, None, None], 1)
    one, other = singles_of(scaled_sum(beside, by_row, above))
    return one + other


@triton.jit
def coarse_sums(y, near, large, small, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """Sums of softplus, by SPAN · factor, of every row and lane of a tile of products, (ROWS, 4).

    Args:
        near, large, small: of a row, from `softplus_of_row`.
    """
    if INTERPRETED:
        f = coarse_softplus_of_one(
            by_lane(y, ROWS, KEYS).to(tl.float16), near[:, None, None, None],
            large[:, None, None, None], small[:, None, None, None],
        )  # fmt: skip
        return tl.sum(tl.sum(f.to(tl.float32), 3), 1)
    else:
        low, high = tl.split(by_lane(y, ROWS, KEYS))
        return sums_of_pairs(halves_of(low, high), near, large, small)


@triton.jit
def largest_bits(y, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """The bits of the largest number of every row and lane, (ROWS, 4), if any is above zero: as
    whole numbers they have the same order, and three are compared at a time.

    It is not rounded, so that the largest weight of a row is 1 in any type.
    """
    return tl.max(tl.max(by_lane(y.to(tl.int32, bitcast=True), ROWS, KEYS), 1), 2)


@triton.jit
def add_up_coarse(
    total,
    highest,
    low,
    high,
    q,
    unit_keys,
    own,
    near,
    large,
    small,
    key_length,
    CAUSAL: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`coarse_sums` and `largest_bits` of every row over keys low … high."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        y = products(
            q, unit_keys, unit_keys, BLOCK_DIM, start, own, key_length, CAUSAL, BLOCK_DIM,
            BLOCK_DIM, KEYS, False, MASKED,
        )  # fmt: skip
        total += coarse_sums(y, near, large, small, ROWS, KEYS)
        highest = tl.maximum(highest, largest_bits(y, ROWS, KEYS))
    return total, highest


@triton.jit
def power_of_two(x):
    if INTERPRETED:
        return tl.exp2(x)
    else:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def lifted(y, unit, rise, drop, bend, CURVED: tl.constexpr):
    """`t` of a tile, between 0 and 1: `softplus · bend − drop` of scores, which are products times
    `unit`; without CURVED of the scores themselves. `rise` is `unit · bend`.

    What is added to a positive score is within 2e-3 of `log2(1 + z)`, `z = 2^−x`, for z below 0.9;
    next to 1 it does not count, where a row's mean is one bit or more.
    """
    if CURVED:
        z = power_of_two(tl.abs(y) * -unit[:, None])
        p = (z * (0.19 * bend)[:, None] - (0.64 * bend)[:, None]) * z + (1.4405 * bend)[:, None]
        return clamped(z, p, drop[:, None] - y * rise[:, None])
    else:
        return clamped(y, rise[:, None], drop[:, None])


@triton.jit
def power_of_weights(t, P: tl.constexpr, CURVED: tl.constexpr, SHARE: tl.constexpr):
    """`t ** P`, of one number in SHARE, 2 or 4, by its logarithm: without CURVED nothing else takes
    the unit for special functions, and multiplications are what such a sweep waits for."""
    if INTERPRETED or CURVED or P < LEAST_BY_LOGARITHM:
        return power(t, P)
    elif SHARE == 2:
        return tl.inline_asm_elementwise(
            """{.reg .f32 x; mov.f32 $0, $4;
            lg2.approx.ftz.f32 x, $3; mul.f32 x, x, $7; ex2.approx.ftz.f32 $1, x;}""",
            "=f,=f,f,f,f,f,f,f", [t, power(t, P), P * 1.0], dtype=tl.float32, is_pure=True, pack=2,
        )  # fmt: skip
    else:
        return tl.inline_asm_elementwise(
            """{.reg .f32 x; mov.f32 $0, $8; mov.f32 $1, $9; mov.f32 $2, $10;
            lg2.approx.ftz.f32 x, $7; mul.f32 x, x, $15; ex2.approx.ftz.f32 $3, x;}""",
            "=f,=f,=f,=f,f,f,f,f,f,f,f,f,f,f,f,f", [t, power(t, P), P * 1.0], dtype=tl.float32,
            is_pure=True, pack=4,
        )  # fmt: skip


@triton.jit
def rounded(low, high):
    """Two numbers rounded to bfloat16, still float32."""
    return tl.inline_asm_elementwise(
        """{.reg .b32 pair; cvt.rn.bf16x2.f32 pair, $3, $2;
        shl.b32 $0, pair, 16; and.b32 $1, pair, 0xFFFF0000;}""",
        "=f,=f,f,f", [low, high], dtype=(tl.float32, tl.float32), is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def lane_sums(w, ROUNDED: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """Sums of weights by row and lane, (ROWS, 4); if ROUNDED as the product has them: the largest
    weight, which is 1 else, may be far from a number of bfloat16."""
    if not ROUNDED:
        return tl.sum(tl.sum(by_lane(w, ROWS, KEYS), 3), 1)
    elif INTERPRETED:
        return tl.sum(tl.sum(by_lane(narrow(w, tl.bfloat16).to(tl.float32), ROWS, KEYS), 3), 1)
    else:
        low, high = tl.split(by_lane(w, ROWS, KEYS))
        low, high = rounded(low, high)
        return tl.sum(low + high, 1)


@triton.jit
def mix_fast(
    mixed,
    raised,
    low,
    high,
    q,
    key_base,
    key_scale,
    stride_token,
    value_base,
    stride_value,
    own,
    unit,
    rise,
    drop,
    bend,
    key_length,
    POWER: tl.constexpr,
    CURVED: tl.constexpr,
    CAUSAL: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
    SCALED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`Σ w v` of every row over keys low … high and `Σ w` of its lanes, (ROWS, 4)."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        y = products(
            q, key_base, key_scale, stride_token, start, own, key_length, CAUSAL, DIM, BLOCK_DIM,
            KEYS, SCALED, MASKED,
        )  # fmt: skip
        w = power_of_weights(lifted(y, unit, rise, drop, bend, CURVED), POWER, CURVED, 2)
        raised += lane_sums(w, SCALED, ROWS, KEYS)
        v = load_tile(
            value_base, start, stride_value, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, MASKED
        )
        mixed = product(narrow(w, v.dtype), v, mixed)
    return mixed, raised


@triton.jit
def mix_exact_keys(
    mixed,
    raised,
    low,
    full_high,
    high,
    q,
    near_scale,
    key_base,
    key_scale,
    key_token,
    value_base,
    value_token,
    own,
    unit,
    total,
    highest,
    off,
    count,
    uneven,
    bent,
    key_length,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The second sweep of a block that is uneven: `mix_fast` with the keys themselves.

    Args:
        q: the queries as they came.
        highest: of the rounded keys; returned as it is with a score that may lie above.
    """
    exact_q = narrow(q.to(tl.float32) * near_scale[:, None], key_base.dtype.element_ty)
    if uneven != 0:
        highest = (highest + off) * ROUNDED_UP - off
    bend = count / (total * highest)
    rise = bend * unit
    drop = off / highest
    # not `else`, and not within `if uneven`: tiles of those would not share memory
    if (bent == 0) & (uneven != 0):
        mixed, raised = mix_fast(
            mixed, raised, low, full_high, exact_q, key_base, key_scale, key_token, value_base,
            value_token, own, unit, rise, drop, bend, key_length, POWER, False, CAUSAL, DIM,
            BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES, True, False,
        )  # fmt: skip
    if (bent != 0) & (uneven != 0):
        mixed, raised = mix_fast(
            mixed, raised, low, full_high, exact_q, key_base, key_scale, key_token, value_base,
            value_token, own, unit, rise, drop, bend, key_length, POWER, True, CAUSAL, DIM,
            BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES, True, False,
        )  # fmt: skip
    if uneven != 0:
        mixed, raised = mix_fast(
            mixed, raised, full_high, high, exact_q, key_base, key_scale, key_token, value_base,
            value_token, own, unit, rise, drop, bend, key_length, POWER, True, CAUSAL, DIM,
            BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, 1, True, True,
        )  # fmt: skip
    return mixed, raised, highest


@triton.jit
def finish(
    output,
    scalars,
    mixed,
    raised,
    total,
    highest,
    off,
    pair,
    pairs,
    start,
    query_length,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write output and scalars of a block of rows.

    Returns:
        1 if a number of the output is not finite, else 0: 0 · NaN is NaN, so a value that is not
        finite may have reached rows that do not see it.
    """
    row = start + tl.arange(0, ROWS)
    inside = row < query_length
    weights = tl.sum(raised, 1)
    field = tl.cast(pairs, tl.int64) * query_length
    at = scalars + pair.to(tl.int64) * query_length + row
    tl.store(at, tl.zeros((ROWS,), tl.float32), inside)
    tl.store(at + field, total, inside)
    tl.store(at + 2 * field, highest, inside)
    tl.store(at + 3 * field, off, inside)
    tl.store(at + 4 * field, weights, inside)
    base = output + pair.to(tl.int64) * query_length * VALUE_DIM
    mixed = mixed / weights[:, None]
    store_tile(base, mixed, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS)
    broken = inside[:, None] & ~(tl.abs(mixed) < float("inf"))
    return tl.max(tl.max(broken.to(tl.int32), 1), 0)


@triton.jit
def fast_forward_kernel(
    query,
    key,
    unit_keys,
    value,
    output,
    scalars,
    flags,
    key_scale,
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
    scale_slope,
    scale_base,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    TOGETHER: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """What `forward.forward_kernel` writes of LSSAR without terms, for blocks that are not flagged.

    Args:
        unit_keys: k/‖k‖, (B·Hkv, Lk, BLOCK_DIM) float16, contiguous.
        flags: written, bytes (B·H, blocks): whether a block is left to `forward_kernel`.
        TOGETHER: heads that run at a time; what they read stays in the cache.
    """
    blocks = tl.cdiv(query_length, ROWS)
    # the last rows first: causal ones see most keys
    pair, after = placed(tl.program_id(0), pairs, blocks, TOGETHER)
    block = blocks - 1 - after
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    inside = row < query_length
    own = row + key_length - query_length

    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    key_scale += key_pair * key_length
    unit_keys += key_pair * key_length * BLOCK_DIM
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head

    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    count = visible_count(row, query_length, key_length, 0, CAUSAL, False)
    near_scale, factor, reach = factors_of_row(q, count, scale_slope, scale_base, POWER)
    q = (q.to(tl.float32) * near_scale[:, None]).to(tl.float16)
    unit = factor * SPAN
    near, large, small = softplus_of_row(factor)

    low, _, full_high, high = keys_seen(
        start, query_length, key_length, 0, CAUSAL, False, ROWS, KEYS
    )
    total = tl.zeros((ROWS, 4), tl.float32)
    highest = tl.zeros((ROWS, 4), tl.int32)
    total, highest = add_up_coarse(
        total, highest, low, full_high, q, unit_keys, own, near, large, small, key_length, CAUSAL,
        BLOCK_DIM, ROWS, KEYS, STAGES, False,
    )  # fmt: skip
    total, highest = add_up_coarse(
        total, highest, full_high, high, q, unit_keys, own, near, large, small, key_length, CAUSAL,
        BLOCK_DIM, ROWS, KEYS, 1, True,
    )  # fmt: skip
    total = tl.sum(total, 1) * unit
    top = tl.max(highest, 1).to(tl.float32, bitcast=True) * unit
    top += tl.log2(1 + tl.exp2(-top))
    highest, off, flagged, uneven, bent = judged(total, top, count, reach, inside, POWER)
    if flagged == 0:
        bend = count / (total * highest)
        rise = bend * unit
        drop = off / highest
        mixed = tl.zeros((ROWS, BLOCK_VALUE), tl.float32)
        raised = tl.zeros((ROWS, 4), tl.float32)
        # not `elif` nor `else`: tiles of those would not share memory
        if bent + uneven == 0:
            mixed, raised = mix_fast(
                mixed, raised, low, full_high, q, unit_keys, key_scale, BLOCK_DIM, value_base,
                value_token, own, unit, rise, drop, bend, key_length, POWER, False, CAUSAL,
                BLOCK_DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES, False, False,
            )  # fmt: skip
        if (bent != 0) & (uneven == 0):
            mixed, raised = mix_fast(
                mixed, raised, low, full_high, q, unit_keys, key_scale, BLOCK_DIM, value_base,
                value_token, own, unit, rise, drop, bend, key_length, POWER, True, CAUSAL,
                BLOCK_DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES, False, False,
            )  # fmt: skip
        if uneven == 0:
            mixed, raised = mix_fast(
                mixed, raised, full_high, high, q, unit_keys, key_scale, BLOCK_DIM, value_base,
                value_token, own, unit, rise, drop, bend, key_length, POWER, True, CAUSAL,
                BLOCK_DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, 1, False, True,
            )  # fmt: skip
        exact_q = load_tile(
            query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True
        )
        mixed, raised, highest = mix_exact_keys(
            mixed, raised, low, full_high, high, exact_q, near_scale, key_base, key_scale,
            key_token, value_base, value_token, own, unit, total, highest, off, count, uneven, bent,
            key_length, POWER, CAUSAL, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES,
        )  # fmt: skip
        flagged = finish(
            output, scalars, mixed, raised, total, highest, off, pair, pairs, start, query_length,
            VALUE_DIM, BLOCK_VALUE, ROWS,
        )  # fmt: skip
    tl.store(flags + pair.to(tl.int64) * blocks + block, flagged.to(tl.int8))


@triton.jit
def uneven_kernel(
    query,
    key,
    value,
    output,
    scalars,
    flags,
    key_scale,
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
    scale_slope,
    scale_base,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    TOGETHER: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The second sweep of the blocks that are flagged as UNEVEN, from the scalars of the first.

    Args:
        scalars: of those blocks' rows the sum, u_max and the offset are known.
        flags: of those blocks, written as `fast_forward_kernel` writes it.
    """
    blocks = tl.cdiv(query_length, ROWS)
    # the last rows first: causal ones see most keys
    pair, after = placed(tl.program_id(0), pairs, blocks, TOGETHER)
    block = blocks - 1 - after
    flags += pair.to(tl.int64) * blocks + block
    if tl.load(flags) != UNEVEN:
        return
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    inside = row < query_length
    own = row + key_length - query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    key_scale += key_pair * key_length
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head

    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    count = visible_count(row, query_length, key_length, 0, CAUSAL, False)
    near_scale, factor, _ = factors_of_row(q, count, scale_slope, scale_base, POWER)
    field = tl.cast(pairs, tl.int64) * query_length
    at = scalars + pair.to(tl.int64) * query_length + row
    total = tl.load(at + field, inside, other=1.0)
    highest = tl.load(at + 2 * field, inside, other=1.0)
    off = tl.load(at + 3 * field, inside, other=1.0)
    uneven = start * 0 + 1
    bent = uneven
    if POWER >= LEAST_STRAIGHT:
        bent = tl.max((is_bent(total, highest, off, count, POWER) & inside).to(tl.int32), 0)
    low, _, full_high, high = keys_seen(
        start, query_length, key_length, 0, CAUSAL, False, ROWS, KEYS
    )
    mixed = tl.zeros((ROWS, BLOCK_VALUE), tl.float32)
    raised = tl.zeros((ROWS, 4), tl.float32)
    mixed, raised, highest = mix_exact_keys(
        mixed, raised, low, full_high, high, q, near_scale, key_base, key_scale, key_token,
        value_base, value_token, own, factor * SPAN, total, highest, off, count, uneven, bent,
        key_length, POWER, CAUSAL, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS, STAGES,
    )  # fmt: skip
    broken = finish(
        output, scalars, mixed, raised, total, highest, off, pair, pairs, start, query_length,
        VALUE_DIM, BLOCK_VALUE, ROWS,
    )  # fmt: skip
    tl.store(flags, broken.to(tl.int8))
