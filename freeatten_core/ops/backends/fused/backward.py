"""The fused backward: a sweep over keys for the queries, then one over rows for keys and values.

With `ds = f'(s) · h · (g − e)` of every variant: `g = dw − D` (times `t^(p−1)` when sharpened, and
without `D` where rows are not normalised by their sum), `h` a factor of the row, and
`e = O · Σ_j g / N`, which is known only after a sweep. So the first sweep accumulates
`Σ f' g k̂`, `Σ f' k̂` and `Σ g`, combines them, and leaves `e` and the other values of the row for
the second. Nothing is added by two programs: the result is the same, bit for bit, every time.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .fast_backward import is_curved, straight_from, sweep_keys_fast, sweep_rows_fast
from .forward import key_scales
from .stages import (
    NORM_EPS,
    distance_of,
    faded,
    norm,
    own_decays,
    positive,
    positive_slope,
    positive_unit,
    row_scale,
    score,
    two_powers,
    unit_of,
    unnormalised_factor,
)
from .tiles import (
    from_first,
    keys_seen,
    load_tile,
    narrow,
    placed,
    product,
    rows_seeing,
    store_tile,
    visible_count,
)

__all__ = [
    "OF_HEAD_SCALE",
    "ROW_FIELDS",
    "key_kernel",
    "query_kernel",
    "sweep_keys",
    "sweep_rows",
    "through_norm",
    "unit_vectors",
    "weights_and_slopes",
]

ROW_FIELDS = 13
"""What the first sweep leaves of a row: scale, shift, rise, drop, weight factor, D, e, gradient
factor, for float16 1/‖q‖ and the lift of the slope, the gradient factor `h` of the score itself,
and the gradient of the head's scale.

With FAST, shift, 1/‖q‖, lift and a last one are what `fast_backward` wants: rise · scale, drop, e
and half the gradient factor, for `t / R^(1/p)` instead of `t`, whose power is the weight."""

OF_HEAD_SCALE = tl.constexpr(11)
"""Where of those the gradient of the head's scale is."""


@triton.jit
def weights_and_slopes(
    x,
    grad_weight,
    shift,
    rise,
    drop,
    delta,
    lift,
    fall,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SHARPENED: tl.constexpr,
    DECAY: tl.constexpr,
    DEGREE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Of a tile: the unnormalised weight, `g`, `f'` and `f`."""
    f = positive(x, 1.0, shift, POSITIVITY, DEGREE, False)
    slope = faded(positive_slope(x, f, lift, POSITIVITY), fall, DECAY)
    f = faded(f, fall, DECAY)
    g = grad_weight - delta
    if MASKED:
        g = tl.where(x == float("-inf"), 0.0, g)
    if SHARPENED:
        raised, lower = two_powers(tl.maximum(f * rise - drop, 0.0), POWER)
        return raised, g * lower, slope, f
    else:
        return f, g, slope, f


@triton.jit
def unit_vectors(vectors, inverse, dtype: tl.constexpr):
    """Vectors (n, D) times `inverse` (n,), in the type `dtype`."""
    return narrow(vectors.to(tl.float32) * inverse[:, None], dtype)


@triton.jit
def through_norm(grad, vectors):
    """`(I − x̂x̂ᵀ) y` of `y = dx̂ / ‖x‖`, (n, D); 0 for vectors without a direction."""
    length = norm(vectors)
    unit = vectors.to(tl.float32) / tl.maximum(length, NORM_EPS)[:, None]
    along = tl.sum(grad * unit, 1)
    return tl.where((length <= NORM_EPS)[:, None], 0.0, grad - unit * along[:, None])


@triton.jit
def sweep_keys(
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
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    shift,
    rise,
    drop,
    delta,
    lift,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SHARPENED: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    HALF: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`Σ f' g k̂`, `Σ f' k̂` and `Σ g` of every row over keys low … high."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        k = load_tile(key_base, start, key_token, key_length, DIM, BLOCK_DIM, KEYS, MASKED)
        v = load_tile(
            value_base, start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, MASKED
        )
        inverse = key_scales(key_scale, start, key_length, SCORE, KEYS, MASKED)
        x, fall = score(
            product(q, tl.trans(k), None), scale[:, None], inverse[None, :], bias[:, None],
            by_distance, own[:, None], own_decay[:, None], decay,
            (start + tl.arange(0, KEYS))[None, :], key_length, window, SCORE, CAUSAL, DISTANCE,
            DECAY, HAS_WINDOW, False, MASKED,
        )  # fmt: skip
        grad_weight = product(grad_output, tl.trans(v), None)
        _, g, f_slope, _f = weights_and_slopes(
            x, grad_weight, shift[:, None], rise[:, None], drop[:, None], delta[:, None],
            lift[:, None], fall, POSITIVITY, POWER, SHARPENED, DECAY, DEGREE, MASKED,
        )  # fmt: skip
        if SCORE == "cosine":
            if HALF:  # 1/‖k‖ can lie outside the range of float16, k/‖k‖ cannot
                k = unit_vectors(k, inverse, k.dtype)
            else:
                f_slope *= inverse[None, :]
        if SHARPENED:
            pull = product(narrow(f_slope, k.dtype), k, pull)
            pushed += tl.sum(g, 1)
        grad = product(narrow(f_slope * g, k.dtype), k, grad)
    return grad, pull, pushed


@triton.jit
def query_kernel(
    query,
    key,
    value,
    output,
    grad_output,
    scalars,
    rows,
    curved,
    grad_query,
    key_scale,
    head_scale,
    distance,
    decay,
    firsts,
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
    scale_slope,
    scale_base,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    NORMALISE: tl.constexpr,
    SHARPENED: tl.constexpr,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_HEAD_SCALE: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    SKIPS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    HALF: tl.constexpr,
    FAST: tl.constexpr,
    TOGETHER: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradient of query (B, H, Lq, D), contiguous, and the rows' values for `key_kernel`.

    Args:
        output, grad_output: (B, H, Lq, Dv), contiguous.
        scalars: of the forward, (5, B·H, Lq).
        firsts: where SKIPS, which keys are read.
        rows: written, (ROW_FIELDS, B·H, Lq) float32.
        curved: written if FAST, bytes (B·H, blocks): whether a row of the block needs softplus
            itself.
    """
    blocks = tl.cdiv(query_length, ROWS)
    pair, after = placed(tl.program_id(0), pairs, blocks, TOGETHER)
    block = blocks - 1 - after
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    inside = row < query_length

    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head
    first = pair.to(tl.int64) * query_length
    key_scale += key_pair * key_length

    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    do = load_tile(
        grad_output + first * VALUE_DIM, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE,
        ROWS, True,
    )  # fmt: skip
    o = load_tile(
        output + first * VALUE_DIM, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS,
        True,
    )  # fmt: skip

    field = tl.cast(pairs, tl.int64) * query_length
    at = scalars + first + row
    shift = tl.load(at, inside, other=0.0)
    total = tl.load(at + field, inside, other=1.0)
    highest = tl.load(at + 2 * field, inside, other=1.0)
    off = tl.load(at + 3 * field, inside, other=0.0)
    raised = tl.load(at + 4 * field, inside, other=1.0)

    count = visible_count(row, query_length, key_length, window, CAUSAL, HAS_WINDOW)
    unscaled = row_scale(count, scale_slope, scale_base)
    natural = unscaled
    if HAS_HEAD_SCALE:
        natural *= tl.load(head_scale + head)
    inverse = tl.full((ROWS,), 1.0, tl.float32)
    if SCORE == "cosine":
        inverse = 1 / tl.maximum(norm(q), NORM_EPS)
    scale = natural * inverse * unit_of(POSITIVITY)
    bias = tl.log2(tl.maximum(count, 1.0))
    by_distance = distance_of(distance, head, key_length, POSITIVITY, DISTANCE)
    own = row + key_length - query_length
    decay += pair.to(tl.int64) * key_length
    own_decay = own_decays(decay, own, key_length, DECAY)

    rise = tl.zeros((ROWS,), tl.float32)
    drop = tl.zeros((ROWS,), tl.float32)
    lift = tl.zeros((ROWS,), tl.float32)
    delta = tl.zeros((ROWS,), tl.float32)
    if NORMALISE == "l1":
        delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
        factor = positive_unit(POSITIVITY) / total
        weight = 1 / total
    else:
        weight = unnormalised_factor(count, POSITIVITY, NORMALISE)
        factor = weight * positive_unit(POSITIVITY)
    if SHARPENED:
        safe = tl.where(highest == 0, 1.0, highest)
        rise = count / (total * safe)
        drop = off / safe
        weight = 1 / raised
        factor *= POWER * count / (safe * raised)
    if HALF and POSITIVITY == "softplus" and NORMALISE == "l1":
        # slopes below the range of float16 count when every one of the row is
        top = highest
        if SHARPENED:
            top = (highest + off) * total / tl.maximum(count, 1.0)
        lift = -tl.log2(tl.where(top == 0, 1.0, top))
        factor *= tl.exp2(-lift)

    low, full_low, full_high, high = keys_seen(
        start, query_length, key_length, window, CAUSAL, HAS_WINDOW, ROWS, KEYS
    )
    firsts += pair.to(tl.int64) * tl.cdiv(query_length, ROWS)
    low, full_low, full_high = from_first(firsts, block, low, full_low, full_high, SKIPS, KEYS)
    grad = tl.zeros((ROWS, BLOCK_DIM), tl.float32)
    pull = tl.zeros((ROWS, BLOCK_DIM), tl.float32) if SHARPENED else 0.0
    pushed = tl.zeros((ROWS,), tl.float32)
    if HAS_WINDOW:
        grad, pull, pushed = sweep_keys(
            grad, pull, pushed, low, full_low, q, do, key_base, key_scale, key_token, value_base,
            value_token, scale, bias, by_distance, own, own_decay, decay, shift, rise, drop, delta,
            lift, key_length, window, SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL, DISTANCE, DECAY,
            HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF, KEYS, 1, True,
        )  # fmt: skip
    bent = start * 0 + 1
    if FAST:
        bent = tl.max((is_curved(total, highest, off, count, POWER) & inside).to(tl.int32), 0)
        tl.store(curved + pair.to(tl.int64) * blocks + block, bent.to(tl.int8))
        if bent == 0:
            grad, pull, pushed = sweep_keys_fast(
                grad, pull, pushed, full_low, full_high, q, do, key_base, key_scale, key_token,
                value_base, value_token, scale, rise, drop, delta, key_length, POWER, DIM,
                BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, KEYS, STAGES,
            )  # fmt: skip
    if bent != 0:
        grad, pull, pushed = sweep_keys(
            grad, pull, pushed, full_low, full_high, q, do, key_base, key_scale, key_token,
            value_base, value_token, scale, bias, by_distance, own, own_decay, decay, shift, rise,
            drop, delta, lift, key_length, window, SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL,
            DISTANCE, DECAY, HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF,
            KEYS, STAGES, False,
        )  # fmt: skip
    grad, pull, pushed = sweep_keys(
        grad, pull, pushed, full_high, high, q, do, key_base, key_scale, key_token, value_base,
        value_token, scale, bias, by_distance, own, own_decay, decay, shift, rise, drop, delta,
        lift, key_length, window, SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL, DISTANCE, DECAY,
        HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF, KEYS, 1, True,
    )  # fmt: skip

    even = tl.zeros((ROWS,), tl.float32)
    if SHARPENED:
        even = off * pushed / tl.maximum(count, 1.0)
        grad -= pull * even[:, None]
    at = rows + first + row
    if HAS_HEAD_SCALE:
        along = tl.sum(q.to(tl.float32) * grad, 1)
        tl.store(at + OF_HEAD_SCALE * field, along * factor * unscaled * inverse, inside)
    grad *= (factor * natural * inverse)[:, None]
    if SCORE == "cosine":
        grad = through_norm(grad, q)
    store_tile(grad_query + first * DIM, grad, start, DIM, query_length, DIM, BLOCK_DIM, ROWS)

    if FAST:
        root = tl.exp2(tl.log2(raised) * (1 / POWER))
        tl.store(at + field, rise * scale / root, inside)
        tl.store(at + 8 * field, drop / root, inside)
        tl.store(at + 9 * field, even * root / raised, inside)
        tl.store(at + 12 * field, 0.5 * factor * natural * inverse * raised / root, inside)
    else:
        tl.store(at + field, shift, inside)
    tl.store(at, scale, inside)
    tl.store(at + 2 * field, rise, inside)
    tl.store(at + 3 * field, drop, inside)
    tl.store(at + 4 * field, weight, inside)
    tl.store(at + 5 * field, delta, inside)
    tl.store(at + 6 * field, even, inside)
    if HALF:
        tl.store(at + 7 * field, factor * natural, inside)
        tl.store(at + 8 * field, inverse, inside)
        tl.store(at + 9 * field, lift, inside)
    else:
        tl.store(at + 7 * field, factor * natural * inverse, inside)
    tl.store(at + 10 * field, factor, inside)


@triton.jit
def sweep_rows(
    grad_key,
    grad_value,
    grad_decay,
    low,
    high,
    k,
    v,
    inverse,
    keys,
    query_base,
    query_token,
    do_base,
    rows,
    field,
    by_distance,
    decay,
    query_length,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SHARPENED: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`Σ ds q`, `Σ w do` and `−Σ ∂/∂(c_i − c_j)` of a block of keys over rows low … high."""
    for start in tl.range(low, high, ROWS, num_stages=STAGES):
        q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
        do = load_tile(do_base, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS, True)
        row = start + tl.arange(0, ROWS)
        inside = row < query_length
        at = rows + row
        scale = tl.load(at, inside, other=0.0)
        weight = tl.load(at + 4 * field, inside, other=0.0)
        delta = tl.load(at + 5 * field, inside, other=0.0)
        factor = tl.load(at + 7 * field, inside, other=0.0)
        shift, rise, drop, even, lift = scale, scale, scale, delta, delta * 0
        if POSITIVITY == "exp":
            # padding must not overflow: a negative slope makes its scores large
            shift = tl.load(at + field, inside, other=float("inf"))
        if SHARPENED:
            rise = tl.load(at + 2 * field, inside, other=0.0)
            drop = tl.load(at + 3 * field, inside, other=0.0)
            even = tl.load(at + 6 * field, inside, other=0.0)
        if HALF:
            lift = tl.load(at + 9 * field, inside, other=0.0)
        own = row + key_length - query_length
        own_decay = own_decays(decay, own, key_length, DECAY)
        bias = scale
        if SCORE == "dot-log-n":
            count = visible_count(row, query_length, key_length, window, CAUSAL, HAS_WINDOW)
            bias = tl.log2(tl.maximum(count, 1.0))
        x, fall = score(
            product(k, tl.trans(q), None), scale[None, :], inverse[:, None], bias[None, :],
            by_distance, own[None, :], own_decay[None, :], decay, keys[:, None], key_length, window,
            SCORE, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, False, MASKED,
        )  # fmt: skip
        grad_weight = product(v, tl.trans(do), None)
        w, g, f_slope, f = weights_and_slopes(
            x, grad_weight, shift[None, :], rise[None, :], drop[None, :], delta[None, :],
            lift[None, :], fall, POSITIVITY, POWER, SHARPENED, DECAY, DEGREE, MASKED,
        )  # fmt: skip
        w *= weight[None, :]
        grad_value = product(narrow(w, do.dtype), do, grad_value)
        if SHARPENED:
            g -= even[None, :]
        if DECAY != "none":
            # what is common to a row leaves it as it is, so that `c_i` has no gradient
            of_score = tl.load(at + 10 * field, inside, other=0.0)
            forgotten = g * f * (of_score / positive_unit(POSITIVITY))[None, :]
            if HALF:
                forgotten *= tl.exp2(lift)[None, :]
            grad_decay -= tl.sum(forgotten, 1)
        grad_score = g * f_slope * factor[None, :]
        if HALF and SCORE == "cosine":
            q = unit_vectors(q, tl.load(at + 8 * field, inside, other=0.0), q.dtype)
        grad_key = product(narrow(grad_score, q.dtype), q, grad_key)
    return grad_key, grad_value, grad_decay


@triton.jit
def key_kernel(
    query,
    key,
    value,
    grad_output,
    rows,
    curved,
    grad_key,
    grad_value,
    grad_decay,
    distance,
    decay,
    lasts,
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
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SHARPENED: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    SKIPS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    HALF: tl.constexpr,
    FAST: tl.constexpr,
    FLAGGED: tl.constexpr,
    TOGETHER: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradients of key and value (B, Hkv, Lk, …) and decay (B, H, Lk), contiguous, for KEYS keys of
    one key head.

    Args:
        grad_output: (B, H, Lq, Dv), contiguous.
        rows, curved: from `query_kernel`, whose blocks had FLAGGED rows.
        lasts: where SKIPS, up to which row a block of keys is read, int32 (B·H, ⌈Lk / KEYS⌉).
    """
    key_heads = heads // groups
    key_pairs = pairs // groups
    # the first keys first: causal rows that see them are most
    key_pair, block = placed(tl.program_id(0), key_pairs, tl.cdiv(key_length, KEYS), TOGETHER)
    start = block * KEYS
    key_head_index = (key_pair % key_heads).to(tl.int64)
    batch = (key_pair // key_heads).to(tl.int64)
    keys = start + tl.arange(0, KEYS)

    key_base = key + batch * key_batch + key_head_index * key_head
    value_base = value + batch * value_batch + key_head_index * value_head
    k = load_tile(key_base, start, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
    v = load_tile(value_base, start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, True)
    inverse = 1 / tl.maximum(norm(k), NORM_EPS)

    seeing = rows_seeing(start, query_length, key_length, window, CAUSAL, HAS_WINDOW, ROWS, KEYS)
    grad_k = tl.zeros((KEYS, BLOCK_DIM), tl.float32)
    grad_v = tl.zeros((KEYS, BLOCK_VALUE), tl.float32)
    field = tl.cast(pairs, tl.int64) * query_length
    for member in range(groups):
        head = key_head_index * groups + member
        first = (batch * heads + head) * query_length
        query_base = query + batch * query_batch + head * query_head
        do_base = grad_output + first * VALUE_DIM
        by_distance = distance_of(distance, head, key_length, POSITIVITY, DISTANCE)
        fade = decay + (batch * heads + head) * key_length
        low, full_low, full_high, high = seeing
        if SKIPS:
            last = tl.load(
                lasts + (batch * heads + head) * tl.cdiv(key_length, KEYS) + start // KEYS
            )
            full_low = tl.multiple_of(tl.minimum(full_low, last), ROWS)
            full_high = tl.multiple_of(tl.minimum(full_high, last), ROWS)
            high = tl.minimum(high, last)
        grad_c = tl.zeros((KEYS,), tl.float32)
        grad_k, grad_v, grad_c = sweep_rows(
            grad_k, grad_v, grad_c, low, full_low, k, v, inverse, keys, query_base, query_token,
            do_base, rows + first, field, by_distance, fade, query_length, key_length, window,
            SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, DIM,
            BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF, ROWS, 1, True,
        )  # fmt: skip
        middle = full_high
        rest = full_high
        if FAST:
            blocks = tl.cdiv(query_length, FLAGGED)
            middle = straight_from(curved + (batch * heads + head) * blocks, blocks, FLAGGED)
            middle = tl.minimum(tl.maximum(tl.cdiv(middle, ROWS) * ROWS, full_low), full_high)
            rest = tl.maximum(middle, tl.minimum(full_high, query_length // ROWS * ROWS))
        grad_k, grad_v, grad_c = sweep_rows(
            grad_k, grad_v, grad_c, full_low, middle, k, v, inverse, keys, query_base,
            query_token, do_base, rows + first, field, by_distance, fade, query_length, key_length,
            window, SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, DIM,
            BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF, ROWS, STAGES, False,
        )  # fmt: skip
        if FAST:
            grad_k, grad_v = sweep_rows_fast(
                grad_k, grad_v, middle, rest, k, v, inverse, query_base, query_token, do_base,
                rows + first, field, query_length, POWER, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE,
                ROWS, STAGES,
            )  # fmt: skip
        if HAS_WINDOW or FAST:
            grad_k, grad_v, grad_c = sweep_rows(
                grad_k, grad_v, grad_c, rest, high, k, v, inverse, keys, query_base,
                query_token, do_base, rows + first, field, by_distance, fade, query_length,
                key_length, window, SCORE, POSITIVITY, POWER, SHARPENED, CAUSAL, DISTANCE, DECAY,
                HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, DEGREE, HALF, ROWS, 1, True,
            )  # fmt: skip
        if DECAY != "none":
            place = grad_decay + (batch * heads + head) * key_length + keys
            tl.store(place, grad_c, keys < key_length)

    if SCORE == "cosine":
        grad_k = through_norm(grad_k * inverse[:, None], k)
    store_tile(
        grad_key + key_pair.to(tl.int64) * key_length * DIM, grad_k, start, DIM, key_length, DIM,
        BLOCK_DIM, KEYS,
    )  # fmt: skip
    store_tile(
        grad_value + key_pair.to(tl.int64) * key_length * VALUE_DIM, grad_v, start, VALUE_DIM,
        key_length, VALUE_DIM, BLOCK_VALUE, KEYS,
    )  # fmt: skip
