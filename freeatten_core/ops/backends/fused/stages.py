"""The four stages on one tile of scores, for the Triton kernels; no loads, no stores.

A tile is (rows × keys) or (keys × rows): every value of a row comes shaped so that it broadcasts,
so the forward and both backward sweeps share these functions. Scores are in base 2
(`x = s · log2 e`) except for relu, which has no exponential; softplus is then `log2(1 + 2^x)`,
`f · log2 e`, and that common factor cancels or is undone where a row is normalised.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from ... import call
from ...call import UNIFORM_TOLERANCE
from .tiles import INTERPRETED

__all__ = [
    "LN_2",
    "LOG2_E",
    "LOWEST",
    "NORM_EPS",
    "distance_of",
    "faded",
    "nonzero",
    "norm",
    "offset",
    "own_decays",
    "positive",
    "positive_scale",
    "positive_slope",
    "positive_unit",
    "power",
    "quick_softplus",
    "row_scale",
    "score",
    "settled",
    "softplus",
    "two_powers",
    "unit_of",
    "unless_vanished",
    "unnormalised_factor",
    "weighing",
]

LOG2_E = tl.constexpr(math.log2(math.e))
LN_2 = tl.constexpr(math.log(2))
NORM_EPS = tl.constexpr(call.NORM_EPS)
UNIFORM = tl.constexpr(1 + UNIFORM_TOLERANCE)
FIRST_ROWS = tl.constexpr(call.FIRST_ROWS)
VANISHING = tl.constexpr(call.VANISHING)

LOWEST = tl.constexpr(-1e30)
"""A row maximum before any key; finite, so that differences with it are."""


@triton.jit
def unit_of(POSITIVITY: tl.constexpr):
    """What scores are multiplied with before the positivity."""
    if POSITIVITY == "relu":
        return 1.0
    else:
        return LOG2_E


@triton.jit
def positive_unit(POSITIVITY: tl.constexpr):
    """What the positivity comes multiplied with."""
    if POSITIVITY == "softplus":
        return LOG2_E
    else:
        return 1.0


@triton.jit
def norm(vectors):
    """‖x‖ of (n, D) vectors, float32 (n,)."""
    wide = vectors.to(tl.float32)
    return tl.sqrt(tl.sum(wide * wide, 1))


@triton.jit
def row_scale(count, scale_slope, scale_base):
    """What multiplies `q·k` (or the cosine) of a row that sees `count` keys."""
    return scale_slope * tl.log(tl.maximum(count, 1.0)) + scale_base


@triton.jit
def distance_of(distance, head, key_length, POSITIVITY: tl.constexpr, DISTANCE: tl.constexpr):
    """What a head's scores change with distance: its slope in base 2, or where its table begins.

    Args:
        distance: for "slope" (H,), subtracted a token, natural; for "table" (H, Lk), added at every
            distance, in base 2.
    """
    if DISTANCE == "slope":
        return tl.load(distance + head) * unit_of(POSITIVITY)
    elif DISTANCE == "table":
        return distance + tl.cast(head, tl.int64) * key_length
    else:
        return 0.0


@triton.jit
def score(
    product,
    row_scale,
    key_scale,
    row_bias,
    by_distance,
    own,
    own_decay,
    decay,
    keys,
    key_length,
    window,
    SCORE: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Scores in base 2 from the products q·k, −inf on keys that a row does not see; and what
    `faded` takes of their positivity.

    LATE leaves `row_scale` to the positivity, which needs no instruction more for it.

    Args:
        row_scale, row_bias, own: of a row, its factor, what is subtracted, its own position.
        key_scale, keys: of a key, 1/‖k‖ (cosine scores) and its position.
        by_distance: of a head, from `distance_of`.
        own_decay, decay: `c` at the row's own key, and where a head's begins.
    """
    x = product
    if SCORE == "cosine":
        x *= key_scale
    if not LATE:
        x *= row_scale
    if SCORE == "dot-log-n":
        x -= row_bias
    if DISTANCE == "slope":
        x -= by_distance * (own - keys).to(tl.float32)
    elif DISTANCE == "table":
        # padding lies before the first distance and beyond the last
        x += tl.load(by_distance + tl.minimum(tl.maximum(own - keys, 0), key_length - 1))
    if MASKED:
        visible = keys < key_length
        if CAUSAL:
            visible = visible & (keys <= own)
        if HAS_WINDOW:
            visible = visible & (keys > own - window)
        x = tl.where(visible, x, float("-inf"))
    if DECAY == "none":
        return x, 0.0
    else:
        # the difference first: both can be hundreds
        fall = (own_decay - tl.load(decay + keys, keys < key_length, other=0.0)) * LOG2_E
        if MASKED:  # later keys would rise
            fall = tl.where(x == float("-inf"), 0.0, fall)
        if DECAY == "score":
            x += fall
        return x, fall


@triton.jit
def own_decays(decay, own, key_length, DECAY: tl.constexpr):
    """`c` at rows' own keys, float32; rows beyond the last forget everything."""
    if DECAY == "none":
        return own.to(tl.float32)
    else:
        known = (own >= 0) & (own < key_length)
        return tl.load(decay + own, known, other=float("-inf"))


@triton.jit
def faded(f, fall, DECAY: tl.constexpr):
    """The positivity less what is forgotten, where the score does not have it already."""
    if DECAY == "weight":
        return f * tl.exp2(fall)
    else:
        return f


@triton.jit
def softplus(x, scale, DEGREE: tl.constexpr):
    """`log2(1 + 2^y) / scale` of `y = x · scale`, for a positive scale of the row.

    `max(y, 0) + z P(z)` with `z = 2^−|y|` has full relative accuracy for very negative y. `P` is
    the minimax polynomial of `log2(1 + z) / z` on [0, 1]: its relative error is 8.4e-6 for degree
    5 and 1.9e-7 for degree 7. The scale rides on its coefficients and on the exponent.
    """
    z = tl.exp2(tl.abs(x) * -scale)
    inverse = 1 / scale
    if DEGREE == 5:
        p = (-0.03443590678 * inverse) * z + 0.1460328883 * inverse
        p = p * z - 0.3030362033 * inverse
        p = p * z + 0.4691740648 * inverse
        p = p * z - 0.7204261645 * inverse
        p = p * z + 1.44268292 * inverse
    else:
        p = (-0.01231947399 * inverse) * z + 0.06360789369 * inverse
        p = p * z - 0.1553518741 * inverse
        p = p * z + 0.2560097187 * inverse
        p = p * z - 0.3533948275 * inverse
        p = p * z + 0.4800636965 * inverse
        p = p * z - 0.7213100882 * inverse
        p = p * z + 1.442694761 * inverse
    return p * z + tl.maximum(x, 0.0)


@triton.jit
def quick_softplus(y):
    """`log2(1 + 2^y)` for y below 127, with an absolute error of about 2e-7.

    In the row of a sum that is not tiny this is as good as `softplus`, with two special functions
    instead of ten instructions: LSSAR takes 1.70 instead of 2.00 ms (H200, 8192 tokens, D = 64).
    """
    grown = 1 + tl.exp2(y)
    if INTERPRETED:
        return tl.log2(grown)
    else:  # tl.log2 takes care of subnormal numbers, which `grown` is not, with ten instructions
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=r,r", [grown], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def positive(x, scale, shift, POSITIVITY: tl.constexpr, DEGREE: tl.constexpr, QUICK: tl.constexpr):
    """The positivity of `x · scale`, divided by what `positive_scale` returns.

    `shift` (of a row) is subtracted before `exp`.
    """
    if POSITIVITY == "exp":
        return tl.exp2(x * scale - shift)
    elif POSITIVITY == "softplus" and QUICK:
        return quick_softplus(x * scale)
    elif POSITIVITY == "softplus":
        return softplus(x, scale, DEGREE)
    elif POSITIVITY == "sigmoid":
        return 1 / (1 + tl.exp2(-x * scale))
    else:
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def positive_scale(scale, POSITIVITY: tl.constexpr, QUICK: tl.constexpr):
    """The factor of the row that `positive` leaves out."""
    if POSITIVITY == "relu" or (POSITIVITY == "softplus" and not QUICK):
        return scale
    else:
        return scale * 0 + 1


@triton.jit
def unnormalised_factor(count, POSITIVITY: tl.constexpr, NORMALISE: tl.constexpr):
    """What turns f into the weight of a row that is not normalised by its sum."""
    divisor = tl.full(count.shape, 1.0, tl.float32) * positive_unit(POSITIVITY)
    if NORMALISE == "count":
        divisor *= tl.maximum(count, 1.0)
    return 1 / divisor


@triton.jit
def positive_slope(x, f, lift, POSITIVITY: tl.constexpr):
    """`df/ds` in natural units; 0 on hidden keys. For softplus times `2^lift`, `lift` of a row."""
    if POSITIVITY == "exp":
        return f
    elif POSITIVITY == "softplus":
        return tl.exp2(x - f + lift)  # σ = 2^x / (1 + 2^x), accurate for very negative x too
    elif POSITIVITY == "sigmoid":
        return f * (1 - f)
    else:
        return tl.where(x > 0, 1.0, 0.0)


@triton.jit
def power(x, P: tl.constexpr):
    """`x ** P` for P ≥ 1 by multiplications, 5 for 15; prime factors 2, 3, 5 first."""
    if P == 1:
        return x
    elif P % 2 == 0:
        return power(x * x, P // 2)
    elif P % 3 == 0:
        return power(x * x * x, P // 3)
    elif P % 5 == 0:
        y = x * x
        return power(y * y * x, P // 5)
    else:
        return x * power(x * x, P // 2)


@triton.jit
def two_powers(x, P: tl.constexpr):
    """`x ** P` and `x ** (P − 1)`, where `x ** 0` is 1 for x > 0 and 0 elsewhere."""
    if P == 1:
        return x, tl.where(x > 0, 1.0, 0.0)
    else:
        lower = power(x, P - 1)
        return x * lower, lower


@triton.jit
def offset(total, highest, count):
    """`O`: 0 for the first rows and for uniform ones, else 1.

    Args:
        total, highest: of a row, Σ f and max f.
        count: `N`, float32.
    """
    apart = (count > FIRST_ROWS) & (count * highest > total * UNIFORM)
    return tl.where(apart, 1.0, 0.0)


@triton.jit
def nonzero(x):
    """x, and 1 where it is 0: a divisor."""
    return tl.where(x == 0, 1.0, x)


@triton.jit
def unless_vanished(x, total):
    """x of a row, 0 where its sum is too small to be divided by."""
    return tl.where(total < VANISHING, 0.0, x)


@triton.jit
def weighing(
    total,
    highest,
    shift,
    count,
    POSITIVITY: tl.constexpr,
    NORMALISE: tl.constexpr,
    SHARPENED: tl.constexpr,
):
    """How a row whose `Σ f` and `max f` are known weighs `f`: `relu(f · rise − drop)`, to a power.

    Returns:
        total, highest (of `u` where SHARPENED), offset, rise, drop.
    """
    off = tl.zeros(total.shape, tl.float32)
    drop = tl.zeros(total.shape, tl.float32)
    if POSITIVITY == "exp" and NORMALISE != "l1":
        total *= tl.exp2(shift)
        highest *= tl.exp2(shift)
    if POSITIVITY != "exp":
        highest = unless_vanished(highest, total)
        total = unless_vanished(total, total)
    if SHARPENED:
        off = offset(total, highest, count)
        highest = count * highest / nonzero(total) - off
        rise = count / (nonzero(total) * nonzero(highest))
        drop = off / nonzero(highest)
    else:
        rise = 1 / nonzero(highest)
    return total, highest, off, rise, drop


@triton.jit
def settled(
    mixed,
    raised,
    total,
    highest,
    shift,
    count,
    POSITIVITY: tl.constexpr,
    NORMALISE: tl.constexpr,
    SWEEPS: tl.constexpr,
    ONE_MORE: tl.constexpr,
):
    """The end of a row: its output from `Σ w v` (rows, Dv) and `Σ w`, and what is kept of it.

    Returns:
        output, shift, total, highest, raised.
    """
    if POSITIVITY != "exp" and NORMALISE == "l1":
        raised = unless_vanished(raised, raised)
    if SWEEPS == 1:
        total = raised
    raised += total * 0  # a total that is not finite must reach the output
    if ONE_MORE:
        above = tl.maximum(shift, 0.0)
        moved = tl.exp2(shift - above)
        total = total * moved + tl.exp2(-above)
        highest *= moved
        mixed *= moved[:, None]
        raised = total
        shift = above

    inverse = 1 / nonzero(raised)
    if NORMALISE != "l1":
        inverse = unnormalised_factor(count, POSITIVITY, NORMALISE)
    if POSITIVITY == "exp" and NORMALISE != "l1":
        inverse *= tl.exp2(shift)
        shift *= 0
    if NORMALISE == "l1":
        total = nonzero(total)
    shift = tl.where(shift > LOWEST, shift, 0.0)
    return mixed * inverse[:, None], shift, total, highest, nonzero(raised)
