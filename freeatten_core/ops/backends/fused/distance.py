"""The gradient of what a score gains by distance: the score's own gradient, laid out by distance.

A tile's diagonals cannot be summed where it is computed without two programs adding to one number.
So every score's gradient is written once, at its row and distance, for some rows at a time, and
PyTorch sums the rows in an order that is always the same.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .backward import weights_and_slopes
from .forward import key_scales
from .stages import distance_of, own_decays, score
from .tiles import keys_seen, load_tile, product, visible_count

__all__ = ["distance_kernel"]


@triton.jit
def distance_kernel(
    query,
    key,
    value,
    grad_output,
    rows,
    by_row,
    key_scale,
    distance,
    decay,
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
    first_row,
    last_row,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    SHARPENED: tl.constexpr,
    POWER: tl.constexpr,
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
    KEYS: tl.constexpr,
):
    """Gradients of the scores of ROWS rows of one head, into `by_row`.

    Args:
        grad_output: (B, H, Lq, Dv), contiguous.
        rows: from `query_kernel`.
        by_row: (B·H, last_row − first_row, Lk) float32, by row and distance; hidden entries are
            left as they are.
    """
    pair = tl.program_id(0) % pairs
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = first_row + tl.program_id(0) // pairs * ROWS
    row = start + tl.arange(0, ROWS)
    inside = row < last_row
    own = row + key_length - query_length

    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head
    first = pair.to(tl.int64) * query_length
    key_scale += key_pair * key_length
    by_row += pair.to(tl.int64) * (last_row - first_row) * key_length
    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    do = load_tile(
        grad_output + first * VALUE_DIM, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE,
        ROWS, True,
    )  # fmt: skip

    field = tl.cast(pairs, tl.int64) * query_length
    at = rows + first + row
    scale = tl.load(at, inside, other=0.0)
    shift = tl.load(at + field, inside, other=float("inf"))
    rise = tl.load(at + 2 * field, inside, other=0.0)
    drop = tl.load(at + 3 * field, inside, other=0.0)
    delta = tl.load(at + 5 * field, inside, other=0.0)
    even = tl.load(at + 6 * field, inside, other=0.0)
    factor = tl.load(at + 10 * field, inside, other=0.0)
    lift = factor * 0
    if HALF:
        lift = tl.load(at + 9 * field, inside, other=0.0)
    count = visible_count(row, query_length, key_length, window, CAUSAL, HAS_WINDOW)
    bias = tl.log2(tl.maximum(count, 1.0))
    by_distance = distance_of(distance, head, key_length, POSITIVITY, DISTANCE)
    decay += pair.to(tl.int64) * key_length
    own_decay = own_decays(decay, own, key_length, DECAY)

    low, _first, _last, high = keys_seen(
        start, query_length, key_length, window, CAUSAL, HAS_WINDOW, ROWS, KEYS
    )
    for key_start in tl.range(low, high, KEYS):
        k = load_tile(key_base, key_start, key_token, key_length, DIM, BLOCK_DIM, KEYS, True)
        v = load_tile(
            value_base, key_start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, True
        )
        inverse = key_scales(key_scale, key_start, key_length, SCORE, KEYS, True)
        keys = (key_start + tl.arange(0, KEYS))[None, :]
        x, fall = score(
            product(q, tl.trans(k), None), scale[:, None], inverse[None, :], bias[:, None],
            by_distance, own[:, None], own_decay[:, None], decay, keys, key_length, window, SCORE,
            CAUSAL, DISTANCE, DECAY, HAS_WINDOW, False, True,
        )  # fmt: skip
        grad_weight = product(do, tl.trans(v), None)
        _weights, g, f_slope, _f = weights_and_slopes(
            x, grad_weight, shift[:, None], rise[:, None], drop[:, None], delta[:, None],
            lift[:, None], fall, POSITIVITY, POWER, SHARPENED, DECAY, DEGREE, True,
        )  # fmt: skip
        if SHARPENED:
            g -= even[:, None]
        back = own[:, None] - keys
        visible = inside[:, None] & (back >= 0)
        if HAS_WINDOW:
            visible = visible & (back < window)
        place = (row - first_row)[:, None].to(tl.int64) * key_length + back
        tl.store(by_row + place, g * f_slope * factor[:, None], visible)
