"""What every row's weights look like: one more sweep over the keys, with the scalars known."""

from __future__ import annotations

import triton
import triton.language as tl

from ...row_statistics import SMALL
from .forward import score_tile
from .stages import (
    LN_2,
    NORM_EPS,
    distance_of,
    faded,
    nonzero,
    norm,
    own_decays,
    positive,
    power,
    row_scale,
    unit_of,
    unnormalised_factor,
)
from .tiles import keys_seen, load_tile, narrow, visible_count

__all__ = ["FIELDS", "SMALL_WEIGHT", "add_weights", "describe", "statistics_kernel", "store_fields"]

FIELDS = (
    "entropy",
    "largest",
    "first",
    "sum_squares",
    "mean_distance",
    "row_sum",
    "zeros",
    "small",
)
"""What the kernel writes, in this order."""

SMALL_WEIGHT = tl.constexpr(SMALL)
TINY = tl.constexpr(1.1754944e-38)


@triton.jit
def add_weights(
    mass,
    logs,
    squares,
    distances,
    rounded,
    largest,
    first,
    small,
    w,
    keys,
    own,
    seen,
    least,
    dtype: tl.constexpr,
):
    """Add a tile of weights (ROWS, KEYS) to the sums of its rows.

    Args:
        keys: their positions, (1, KEYS).
        seen: whether a row sees a key.
        least: of a row, what counts as small.
    """
    mass += tl.sum(w, 1)
    logs += tl.sum(w * tl.log2(tl.maximum(w, TINY)), 1)
    squares += tl.sum(w * w, 1)
    distances += tl.sum(w * (own[:, None] - keys).to(tl.float32), 1)
    rounded += tl.sum(narrow(w, dtype).to(tl.float32), 1)
    largest = tl.maximum(largest, tl.max(w, 1))
    first += tl.sum(tl.where(keys == 0, w, 0.0), 1)
    small += tl.sum((seen & (w < least[:, None])).to(tl.float32), 1)
    return mass, logs, squares, distances, rounded, largest, first, small


@triton.jit
def store_fields(
    at,
    field,
    inside,
    mass,
    logs,
    squares,
    distances,
    rounded,
    largest,
    first,
    zeros,
    small,
    divisor,
    count,
):
    """Write FIELDS of rows, the first at `at` and each `field` further, from their sums."""
    safe = nonzero(mass)
    seen = tl.maximum(count, 1.0)
    entropy = tl.log(safe) - logs / safe * LN_2
    tl.store(at, tl.maximum(entropy, 0.0, propagate_nan=tl.PropagateNan.ALL), inside)
    tl.store(at + field, largest / divisor, inside)
    tl.store(at + 2 * field, first / divisor, inside)
    tl.store(at + 3 * field, squares / (safe * safe), inside)
    tl.store(at + 4 * field, distances / safe, inside)
    tl.store(at + 5 * field, rounded / divisor, inside)
    tl.store(at + 6 * field, zeros / seen, inside)
    tl.store(at + 7 * field, small / seen, inside)


@triton.jit
def describe(
    mass,
    logs,
    squares,
    distances,
    rounded,
    largest,
    first,
    zeros,
    small,
    low,
    high,
    q,
    key_base,
    key_scale,
    key_token,
    scale,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    shift,
    rise,
    drop,
    least,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SCALED: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    DEGREE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Add the keys low … high to the sums of every row; `least` is what counts as small."""
    for start in tl.range(low, high, KEYS):
        x, fall = score_tile(
            q, key_base, key_scale, key_token, start, scale, bias, by_distance, own, own_decay,
            decay, key_length, window, SCORE, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, False, DIM,
            BLOCK_DIM, KEYS, MASKED,
        )  # fmt: skip
        share = faded(positive(x, 1.0, shift[:, None], POSITIVITY, DEGREE, False), fall, DECAY)
        if SCALED:
            share = tl.maximum(share * rise[:, None] - drop[:, None], 0.0)
        w = power(share, POWER)
        keys = (start + tl.arange(0, KEYS))[None, :]
        seen = x > float("-inf")
        mass, logs, squares, distances, rounded, largest, first, small = add_weights(
            mass, logs, squares, distances, rounded, largest, first, small, w, keys, own, seen,
            least, q.dtype,
        )  # fmt: skip
        zeros += tl.sum((seen & (share <= 0)).to(tl.float32), 1)
    return mass, logs, squares, distances, rounded, largest, first, zeros, small


@triton.jit
def statistics_kernel(
    query,
    key,
    scalars,
    described,
    key_scale,
    head_scale,
    distance,
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
    NORMALISE: tl.constexpr,
    SHARPENED: tl.constexpr,
    POWER: tl.constexpr,
    SCALED: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_HEAD_SCALE: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    DEGREE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """FIELDS of every row, (len(FIELDS), B·H, Lq) float32, from `forward_kernel`'s scalars.

    `SCALED`: the weights are made from `f · rise − drop`, as the forward makes them.
    """
    block = tl.cdiv(query_length, ROWS) - 1 - tl.program_id(0) // pairs
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    inside = row < query_length
    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    key_scale += key_pair * key_length

    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    count = visible_count(row, query_length, key_length, window, CAUSAL, HAS_WINDOW)
    scale = row_scale(count, scale_slope, scale_base) * unit_of(POSITIVITY)
    if SCORE == "cosine":
        scale /= tl.maximum(norm(q), NORM_EPS)
    if HAS_HEAD_SCALE:
        scale *= tl.load(head_scale + head)
    by_distance = distance_of(distance, head, key_length, POSITIVITY, DISTANCE)
    bias = tl.log2(tl.maximum(count, 1.0))
    own = row + key_length - query_length
    decay += pair.to(tl.int64) * key_length
    own_decay = own_decays(decay, own, key_length, DECAY)

    field = tl.cast(pairs, tl.int64) * query_length
    at = scalars + pair.to(tl.int64) * query_length + row
    shift = tl.load(at, inside, other=0.0)
    total = tl.load(at + field, inside, other=1.0)
    highest = tl.load(at + 2 * field, inside, other=1.0)
    off = tl.load(at + 3 * field, inside, other=0.0)
    raised = tl.load(at + 4 * field, inside, other=1.0)
    rise = 1 / nonzero(highest)
    drop = off * rise
    divisor = total
    if SHARPENED:
        rise *= count / total
        divisor = raised
    elif NORMALISE != "l1":
        divisor = 1 / unnormalised_factor(count, POSITIVITY, NORMALISE)
    elif SCALED:
        divisor = total * rise

    low, full_low, full_high, high = keys_seen(
        start, query_length, key_length, window, CAUSAL, HAS_WINDOW, ROWS, KEYS
    )
    mass = tl.zeros((ROWS,), tl.float32)
    logs, squares, distances, rounded, largest = mass, mass, mass, mass, mass
    first, zeros, small = mass, mass, mass
    least = divisor * SMALL_WEIGHT
    if HAS_WINDOW:
        mass, logs, squares, distances, rounded, largest, first, zeros, small = describe(
            mass, logs, squares, distances, rounded, largest, first, zeros, small, low, full_low, q,
            key_base, key_scale, key_token, scale, bias, by_distance, own, own_decay, decay, shift,
            rise, drop, least, key_length, window, SCORE, POSITIVITY, POWER, SCALED, CAUSAL,
            DISTANCE, DECAY, HAS_WINDOW, DIM, BLOCK_DIM, KEYS, DEGREE, True,
        )  # fmt: skip
    mass, logs, squares, distances, rounded, largest, first, zeros, small = describe(
        mass, logs, squares, distances, rounded, largest, first, zeros, small, full_low, full_high,
        q, key_base, key_scale, key_token, scale, bias, by_distance, own, own_decay, decay, shift,
        rise, drop, least, key_length, window, SCORE, POSITIVITY, POWER, SCALED, CAUSAL, DISTANCE,
        DECAY, HAS_WINDOW, DIM, BLOCK_DIM, KEYS, DEGREE, False,
    )  # fmt: skip
    mass, logs, squares, distances, rounded, largest, first, zeros, small = describe(
        mass, logs, squares, distances, rounded, largest, first, zeros, small, full_high, high, q,
        key_base, key_scale, key_token, scale, bias, by_distance, own, own_decay, decay, shift,
        rise, drop, least, key_length, window, SCORE, POSITIVITY, POWER, SCALED, CAUSAL, DISTANCE,
        DECAY, HAS_WINDOW, DIM, BLOCK_DIM, KEYS, DEGREE, True,
    )  # fmt: skip

    mass += total * 0  # a score that is not finite must reach what is said of its row
    if SHARPENED:
        zeros *= off
        # of this sweep: in a nearly uniform row the forward's can differ by more than rounding
        divisor = nonzero(mass)
    elif POSITIVITY != "relu":
        zeros *= 0
    at = described + pair.to(tl.int64) * query_length + row
    store_fields(
        at, field, inside, mass, logs, squares, distances, rounded, largest, first, zeros, small,
        divisor, count,
    )  # fmt: skip
