"""The fused forward of few queries against many keys: the keys of a row are shared out.

One program a row would walk all keys alone while the rest of the GPU waits. So programs take a part
of the keys each, for all queries of a key head together, and leave what the parts add up to; a last
kernel adds the parts in their order, so that the same bits come every time. Where the whole row
must be known before its weights, the first kernel keeps the scores, and a second weighs the values:
every key and value is read once.

A tile is (rows × keys). A single row is not worth a matrix product: its tile is (keys × 1), and the
keys are lanes that add up on their own until the end.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .stages import (
    LOWEST,
    NORM_EPS,
    norm,
    positive,
    power,
    row_scale,
    score,
    settled,
    unit_of,
    weighing,
)
from .tiles import load_tile, narrow, product, visible_count

__all__ = ["added", "along_keys", "merge_kernel", "split_kernel", "sweep"]

CHUNK = tl.constexpr(16)
"""Parts whose outputs are added at once. Not tuned."""


@triton.jit
def added(x, ROWS: tl.constexpr):
    """A tile over its keys, (ROWS, 1); of a single row later."""
    if ROWS == 1:
        return x
    else:
        return tl.sum(x, 1)[:, None]


@triton.jit
def along_keys(x, ROWS: tl.constexpr):
    """What keys have, (KEYS,), so that it broadcasts in a tile."""
    if ROWS == 1:
        return x[:, None]
    else:
        return x[None, :]


@triton.jit
def sweep(
    mixed,
    total,
    highest,
    shift,
    low,
    high,
    q,
    key_base,
    key_token,
    value_base,
    value_token,
    kept,
    row,
    own,
    scale,
    bias,
    rise,
    drop,
    rows,
    key_length,
    window,
    SWEEP: tl.constexpr,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    SHARPENED: tl.constexpr,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """What keys low … high add to the sums of the rows, which are (ROWS, 1), or (KEYS, 1)."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        keys = along_keys(start + tl.arange(0, KEYS), ROWS)
        place = kept + keys.to(tl.int64) * rows + row[:, None]
        there = (keys < key_length) & (row < rows)[:, None]
        if SWEEP == "weights":
            x = tl.load(place, there, other=0.0)
        else:
            k = load_tile(key_base, start, key_token, key_length, DIM, BLOCK_DIM, KEYS, MASKED)
            if ROWS == 1:
                dots = tl.sum(k.to(tl.float32) * q.to(tl.float32), 1)[:, None]
            else:
                dots = product(q, tl.trans(k), None)
            inverse = tl.full((KEYS,), 1.0, tl.float32)
            if SCORE == "cosine":
                inverse = 1 / tl.maximum(norm(k), NORM_EPS)
            x, _fall = score(
                dots, scale[:, None], along_keys(inverse, ROWS), bias[:, None], 0.0, own[:, None],
                0.0, kept, keys, key_length, window, SCORE, CAUSAL, "none", "none", HAS_WINDOW,
                False, MASKED,
            )  # fmt: skip
        if POSITIVITY == "exp":
            if SWEEP == "weights":
                w = tl.exp2(x - shift)
            else:
                if ROWS == 1:
                    risen = tl.maximum(shift, x)
                else:
                    risen = tl.maximum(shift, tl.max(x, 1)[:, None])
                fallen = tl.exp2(shift - risen)
                shift = risen
                total *= fallen
                if SWEEP == "all":
                    mixed *= fallen
                w = tl.exp2(x - shift)
        elif SWEEP == "weights":
            w = x
        else:
            x = positive(x, 1.0, 0.0, POSITIVITY, DEGREE, False)
            w = x
        if SWEEP == "scores":
            tl.store(place, x, there)
            if POSITIVITY != "exp":
                if ROWS == 1:
                    highest = tl.maximum(highest, w)
                else:
                    highest = tl.maximum(highest, tl.max(w, 1)[:, None])
        elif SWEEP == "weights" and SHARPENED:
            w = power(tl.maximum(w * rise[:, None] - drop[:, None], 0.0), POWER)
        elif SWEEP == "weights":
            w *= rise[:, None]
        if MASKED and SWEEP == "weights":
            # what a row does not see was kept as 0, which is a score of `exp`
            w = tl.where(keys < key_length, w, 0.0)
        total += added(w, ROWS)
        if SWEEP != "scores":
            v = load_tile(
                value_base, start, value_token, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, MASKED
            )
            if MASKED:
                # 0 · NaN is NaN: a value that a row does not see must not reach it
                seen = keys < key_length
                if CAUSAL:
                    seen = seen & (keys <= own[:, None])
                if HAS_WINDOW:
                    seen = seen & (keys > own[:, None] - window)
                if ROWS == 1:
                    v = tl.where(seen, v, 0.0).to(value_base.dtype.element_ty)
                else:
                    broken = (v != v) | (tl.abs(v.to(tl.float32)) == float("inf"))
                    v = tl.where(broken, 0.0, v).to(value_base.dtype.element_ty)
                    reached = product(
                        tl.where(seen, 1.0, 0.0).to(v.dtype),
                        tl.where(broken, 1.0, 0.0).to(v.dtype),
                        None,
                    )
                    mixed = tl.where(reached > 0, float("nan"), mixed)
            if ROWS == 1:
                mixed += w * v.to(tl.float32)
            else:
                mixed = product(narrow(w, v.dtype), v, mixed)
    return mixed, total, highest, shift


@triton.jit
def split_kernel(
    query,
    key,
    value,
    kept,
    sums,
    raised,
    mixtures,
    scalars,
    head_scale,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    value_batch,
    value_head,
    value_token,
    key_pairs,
    kv_heads,
    groups,
    query_length,
    key_length,
    window,
    first,
    step,
    splits,
    scale_slope,
    scale_base,
    SWEEP: tl.constexpr,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    NORMALISE: tl.constexpr,
    SHARPENED: tl.constexpr,
    POWER: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_HEAD_SCALE: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PARTS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """What `step` keys give to the G · Lq rows of one key head.

    Args:
        kept: scores of `exp`, positivities of others, (B·Hkv, Lk, G·Lq) float32; written by SWEEP
            "scores", read by "weights", unused by "all".
        sums: written but by "weights", which reads them: Σ f, max f and the shift of every part,
            (3, B·Hkv, splits, G·Lq) float32.
        raised: written by "weights": Σ w, 0 and the shift, as `sums`.
        mixtures: Σ w v of every part, (B·Hkv, splits, G·Lq, Dv) float32.
        scalars: as of `forward_kernel`; "weights" leaves there what it knows of rows.
        first: the first key that a row sees, a multiple of KEYS.
        step: keys of a part, a multiple of KEYS.
    """
    pair = (tl.program_id(0) % key_pairs).to(tl.int64)
    split = tl.program_id(0) // key_pairs
    batch, kv_head = pair // kv_heads, pair % kv_heads
    rows = groups * query_length
    row = tl.arange(0, ROWS)
    inside = row < rows
    head = kv_head * groups + row // query_length
    own = row % query_length + key_length - query_length

    dim = tl.arange(0, BLOCK_DIM)
    pointers = query + batch * query_batch + head * query_head + row % query_length * query_token
    q = tl.load(pointers[:, None] + dim[None, :], inside[:, None] & (dim < DIM)[None, :], other=0.0)
    key_base = key + batch * key_batch + kv_head * key_head
    value_base = value + batch * value_batch + kv_head * value_head
    kept += pair * key_length * rows

    count = visible_count(row % query_length, query_length, key_length, window, CAUSAL, HAS_WINDOW)
    scale = row_scale(count, scale_slope, scale_base) * unit_of(POSITIVITY)
    if SCORE == "cosine":
        scale /= tl.maximum(norm(q), NORM_EPS)
    if HAS_HEAD_SCALE:
        scale *= tl.load(head_scale + head, inside, other=0.0)
    bias = tl.log2(tl.maximum(count, 1.0))

    field = tl.cast(key_pairs, tl.int64) * splits * rows
    rise = tl.full((ROWS,), 1.0, tl.float32)
    drop = tl.zeros((ROWS,), tl.float32)
    lanes: tl.constexpr = KEYS if ROWS == 1 else ROWS
    shift = tl.full((lanes, 1), LOWEST if POSITIVITY == "exp" else 0.0, tl.float32)
    if SWEEP == "weights":
        part = tl.arange(0, PARTS)[:, None]
        at = sums + (pair * splits + part) * rows + row[None, :]
        known = (part < splits) & inside[None, :]
        of_parts = tl.load(at, known, other=0.0)
        highest_of = tl.max(tl.load(at + field, known, other=0.0), 0)
        shift_of = tl.zeros((ROWS,), tl.float32)
        if POSITIVITY == "exp":
            shifts = tl.load(at + 2 * field, known, other=LOWEST)
            shift_of = tl.max(shifts, 0)
            of_parts *= tl.exp2(shifts - shift_of[None, :])
            shift = tl.zeros((lanes, 1), tl.float32) + shift_of[:, None]
        total_of = tl.sum(of_parts, 0)
        if POSITIVITY == "exp":
            highest_of = tl.where(total_of > 0, 1.0, 0.0)
        total_of, highest_of, off, rise, drop = weighing(
            total_of, highest_of, shift_of, count, POSITIVITY, NORMALISE, SHARPENED
        )
        if split == 0:
            of_row = tl.cast(key_pairs, tl.int64) * rows
            to = scalars + pair * rows + row
            tl.store(to + of_row, total_of, inside)
            tl.store(to + 2 * of_row, highest_of, inside)
            tl.store(to + 3 * of_row, off, inside)

    mixed = 0.0
    if SWEEP != "scores":
        mixed = tl.zeros((lanes, BLOCK_VALUE), tl.float32)
    total = tl.zeros((lanes, 1), tl.float32)
    highest = tl.zeros((lanes, 1), tl.float32)

    begin = first + split * step
    end = tl.minimum(begin + step, key_length)
    full_low = begin
    full_high = end // KEYS * KEYS
    if CAUSAL:  # the first row sees the fewest, and of a window the last one
        full_high = tl.minimum(full_high, (key_length - query_length + 1) // KEYS * KEYS)
    if HAS_WINDOW:
        full_low = tl.maximum(begin, tl.cdiv(tl.maximum(0, key_length - window), KEYS) * KEYS)
        full_low = tl.minimum(full_low, tl.cdiv(end, KEYS) * KEYS)
        mixed, total, highest, shift = sweep(
            mixed, total, highest, shift, begin, tl.minimum(full_low, end), q, key_base, key_token,
            value_base, value_token, kept, row, own, scale, bias, rise, drop, rows, key_length,
            window, SWEEP, SCORE, POSITIVITY, SHARPENED, POWER, CAUSAL, HAS_WINDOW, DIM, BLOCK_DIM,
            VALUE_DIM, BLOCK_VALUE, DEGREE, ROWS, KEYS, 1, True,
        )  # fmt: skip
    full_high = tl.maximum(full_low, full_high)
    mixed, total, highest, shift = sweep(
        mixed, total, highest, shift, full_low, full_high, q, key_base, key_token, value_base,
        value_token, kept, row, own, scale, bias, rise, drop, rows, key_length, window, SWEEP,
        SCORE, POSITIVITY, SHARPENED, POWER, CAUSAL, HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM,
        BLOCK_VALUE, DEGREE, ROWS, KEYS, STAGES, False,
    )  # fmt: skip
    mixed, total, highest, shift = sweep(
        mixed, total, highest, shift, full_high, end, q, key_base, key_token, value_base,
        value_token, kept, row, own, scale, bias, rise, drop, rows, key_length, window, SWEEP,
        SCORE, POSITIVITY, SHARPENED, POWER, CAUSAL, HAS_WINDOW, DIM, BLOCK_DIM, VALUE_DIM,
        BLOCK_VALUE, DEGREE, ROWS, KEYS, 1, True,
    )  # fmt: skip

    if ROWS == 1:  # the lanes
        above = tl.max(shift, 0)[None, :]
        fallen = tl.exp2(shift - above)
        if SWEEP != "scores":
            mixed = tl.sum(mixed * fallen, 0)[None, :]
        total = tl.sum(total * fallen, 0)[None, :]
        highest = tl.max(highest, 0)[None, :]
        shift = above
    to = (raised if SWEEP == "weights" else sums) + (pair * splits + split) * rows + row[:, None]
    tl.store(to, total, inside[:, None])
    tl.store(to + field, highest, inside[:, None])
    tl.store(to + 2 * field, shift, inside[:, None])
    if SWEEP != "scores":
        dim = tl.arange(0, BLOCK_VALUE)[None, :]
        to = mixtures + ((pair * splits + split) * rows + row)[:, None] * VALUE_DIM + dim
        tl.store(to, mixed, inside[:, None] & (dim < VALUE_DIM))


@triton.jit
def merge_kernel(
    raised,
    mixtures,
    output,
    scalars,
    key_pairs,
    groups,
    query_length,
    key_length,
    window,
    splits,
    POSITIVITY: tl.constexpr,
    NORMALISE: tl.constexpr,
    SWEEPS: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    ONE_MORE: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Output and scalars of one row, as of `forward_kernel`, from what its parts left."""
    rows = groups * query_length
    place = tl.program_id(0).to(tl.int64)
    pair, of_pair = place // rows, place % rows
    row = of_pair + tl.arange(0, 1)
    field = tl.cast(key_pairs, tl.int64) * splits * rows
    parts = raised + pair * splits * rows + of_pair
    part = tl.arange(0, PARTS)
    shifts = tl.load(parts + 2 * field + part * rows, part < splits, other=LOWEST)
    above = tl.max(shifts, 0)
    weighed = tl.load(parts + part * rows, part < splits, other=0.0) * tl.exp2(shifts - above)
    total = tl.zeros((1,), tl.float32) + tl.sum(weighed, 0)
    shift = tl.zeros((1,), tl.float32) + above

    dim = tl.arange(0, BLOCK_VALUE)[None, :]
    mixed = tl.zeros((CHUNK, BLOCK_VALUE), tl.float32)
    for start in range(0, splits, CHUNK):
        of = start + tl.arange(0, CHUNK)
        fallen = tl.exp2(tl.load(parts + 2 * field + of * rows, of < splits, other=LOWEST) - above)
        at = mixtures + ((pair * splits + of) * rows + of_pair)[:, None] * VALUE_DIM + dim
        there = (of < splits)[:, None] & (dim < VALUE_DIM)
        mixed += tl.load(at, there, other=0.0) * fallen[:, None]

    of_row = tl.cast(key_pairs, tl.int64) * rows
    at = scalars + pair * rows + row
    known, highest, off = total, tl.zeros((1,), tl.float32), tl.zeros((1,), tl.float32)
    if SWEEPS == 2:
        known = tl.load(at + of_row)
        highest = tl.load(at + 2 * of_row)
        off = tl.load(at + 3 * of_row)
    count = visible_count(
        (row % query_length).to(tl.int32), query_length, key_length, window, CAUSAL, HAS_WINDOW
    )
    mixed, shift, known, highest, total = settled(
        tl.sum(mixed, 0)[None, :], total, known, highest, shift, count, POSITIVITY, NORMALISE,
        SWEEPS, ONE_MORE,
    )  # fmt: skip
    tl.store(at, shift)
    tl.store(at + of_row, known)
    tl.store(at + 2 * of_row, highest)
    tl.store(at + 3 * of_row, off)
    tl.store(at + 4 * of_row, total)
    to = output + (pair * rows + row)[:, None] * VALUE_DIM + dim
    tl.store(to, narrow(mixed, output.dtype.element_ty), dim < VALUE_DIM)
