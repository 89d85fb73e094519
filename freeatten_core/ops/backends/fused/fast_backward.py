"""The two sweeps of LSSAR's backward over tiles that are seen whole, where softplus is the score
itself for every weight that counts (see `is_curved`)."""

from __future__ import annotations

import triton
import triton.language as tl

from .forward import key_scales
from .stages import LN_2, power, two_powers
from .tiles import INTERPRETED, load_tile, narrow, product

__all__ = [
    "clamped",
    "hyperbolic_tangent",
    "is_bent",
    "is_curved",
    "is_level",
    "straight_from",
    "sweep_keys_fast",
    "sweep_rows_fast",
]

FLAGS = tl.constexpr(128)
"""How many are looked at at once."""

LEAST_MEAN = tl.constexpr(1.0)
"""Of softplus over a row, in bits: below it keys with negative scores can have weights."""

LEAST_TOP = tl.constexpr(0.2)
"""Of `u_max`: below it the row is so nearly uniform that sharpening amplifies any difference."""

BEND = tl.constexpr(8e-3)
"""How far a weight that counts may be off. Of the output it makes 1e-4 on average (random rows just
below, p = 15, computed in float64)."""


@triton.jit
def is_curved(total, highest, off, count, P: tl.constexpr):
    """Whether a row must have softplus itself, from the forward's scalars."""
    return is_level(total, highest, off, count) | is_bent(total, highest, off, count, P)


@triton.jit
def is_level(total, highest, off, count):
    """Whether scores below a row's mean have weights, or rounding is amplified in them; so it is of
    a row with a number that is none."""
    return (off == 0) | ~(total >= count * LEAST_MEAN) | ~(highest >= LEAST_TOP)


@triton.jit
def is_bent(total, highest, off, count, P: tl.constexpr):
    """Whether softplus is not near enough to the score where a row has weights.

    Weights of scores less than `least` above the mean are together below the largest; from there
    on the linear form errs by at most `2 P g / least` of a weight, with `g` what softplus is above
    the score.
    """
    top = (highest + off) * total / tl.maximum(count, 1.0)
    mean = total / count
    least = (top - mean) * tl.exp2(-tl.log2(count) / P)
    return ~((2.0 * P * 1.4427) * tl.exp2(-mean - least) < least * BEND)


@triton.jit
def clamped(x, rise, drop):
    """`x · rise − drop` between 0 and 1, one instruction."""
    if INTERPRETED:
        return tl.minimum(tl.maximum(x * rise - drop, 0.0), 1.0)
    else:
        return tl.inline_asm_elementwise(
            "{.reg .f32 down; neg.f32 down, $3; fma.rn.sat.f32 $0, $1, $2, down;}", "=f,f,f,f",
            [x, rise, drop], dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip


@triton.jit
def hyperbolic_tangent(x):
    """With a relative error of 2^−11; the slope of softplus is `(1 + tanh(s / 2)) / 2`."""
    if INTERPRETED:
        return 2 / (1 + tl.exp2(x * -2.885390082)) - 1
    else:
        return tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def straight_from(curved, blocks, ROWS: tl.constexpr):
    """The first row of a head from which on no block of ROWS rows is flagged in `curved`."""
    last = blocks * 0
    for start in range(0, blocks, FLAGS):
        index = start + tl.arange(0, FLAGS)
        flag = tl.load(curved + index, index < blocks, other=0)
        last = tl.maximum(last, tl.max(tl.where(flag != 0, index + 1, 0), 0))
    return last * ROWS


@triton.jit
def sweep_keys_fast(
    grad,
    pull,
    pushed,
    low,
    high,
    q,
    grad_output,
    key_base,
    key_scale,
    key_token,
    value_base,
    value_token,
    scale,
    rise,
    drop,
    delta,
    key_length,
    POWER: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """`Σ f' g k̂`, `Σ f' k̂` and `Σ g` of every row over keys low … high, as
    `backward.sweep_keys`."""
    steep = (rise * scale)[:, None]
    half = (scale * (0.5 * LN_2))[:, None]
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        k = load_tile(key_base, start, key_token, key_length, DIM, BLOCK_DIM, KEYS, False)
        v = load_tile(
            value_base, start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, False
        )
        inverse = key_scales(key_scale, start, key_length, "cosine", KEYS, False)
        along = product(q, tl.trans(k), None) * inverse[None, :]
        t = clamped(along, steep, drop[:, None])
        g = (product(grad_output, tl.trans(v), None) - delta[:, None]) * power(t, POWER - 1)
        pushed += tl.sum(g, 1)
        slope = hyperbolic_tangent(along * half)
        slope = slope * (0.5 * inverse)[None, :] + (0.5 * inverse)[None, :]
        pull = product(narrow(slope, k.dtype), k, pull)
        grad = product(narrow(slope * g, k.dtype), k, grad)
    return grad, pull, pushed


@triton.jit
def sweep_rows_fast(
    grad_key,
    grad_value,
    low,
    high,
    k,
    v,
    inverse,
    query_base,
    query_token,
    do_base,
    rows,
    field,
    query_length,
    POWER: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """`Σ ds q` and `Σ w do` of a block of keys over rows low … high, as `backward.sweep_rows`."""
    for start in tl.range(low, high, ROWS, num_stages=STAGES):
        q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, False)
        do = load_tile(do_base, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS, False)
        at = rows + start + tl.arange(0, ROWS)
        half = tl.load(at) * (0.5 * LN_2)
        steep = tl.load(at + field)
        delta = tl.load(at + 5 * field)
        drop = tl.load(at + 8 * field)
        even = tl.load(at + 9 * field)
        factor = tl.load(at + 12 * field)
        along = product(k, tl.trans(q), None) * inverse[:, None]
        t = clamped(along, steep[None, :], drop[None, :])
        w, lower = two_powers(t, POWER)
        grad_value = product(narrow(w, do.dtype), do, grad_value)
        g = (product(v, tl.trans(do), None) - delta[None, :]) * lower - even[None, :]
        slope = hyperbolic_tangent(along * half[None, :])
        slope = slope * factor[None, :] + factor[None, :]
        grad_key = product(narrow(g * slope, q.dtype), q, grad_key)
    return grad_key, grad_value
