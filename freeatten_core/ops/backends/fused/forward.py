"""The fused forward: one sweep over the keys, or two where the row must be known first."""

from __future__ import annotations

import triton
import triton.language as tl

from .stages import (
    LOWEST,
    NORM_EPS,
    distance_of,
    faded,
    norm,
    own_decays,
    positive,
    positive_scale,
    power,
    row_scale,
    score,
    settled,
    unit_of,
    weighing,
)
from .tiles import (
    from_first,
    keys_seen,
    load_tile,
    narrow,
    placed,
    product,
    store_tile,
    visible_count,
    without_hidden,
)

__all__ = [
    "LEAST_SCALE",
    "add_up",
    "add_up_row",
    "forward_kernel",
    "key_norms_kernel",
    "key_scales",
    "mix",
    "mix_row",
    "score_tile",
]

LEAST_SCALE = tl.constexpr(1e-9)
"""Instead of the scale 0 of a row that sees one key: softplus is divided by it."""

FAR = tl.constexpr(0.02)
"""Below this mean of `f`, the keys point away from the query and `quick_softplus` is too coarse."""


@triton.jit
def key_norms_kernel(
    key,
    inverse,
    unit_keys,
    stride_batch,
    stride_head,
    stride_token,
    heads,
    length,
    UNIT: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    KEYS: tl.constexpr,
):
    """`1 / max(‖k‖, eps)`, float32 (B·Hkv, Lk), of key (B, Hkv, Lk, D); if UNIT the keys times it
    too, (B·Hkv, Lk, BLOCK_DIM) float16."""
    blocks = tl.cdiv(length, KEYS)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    start = tl.program_id(0) % blocks * KEYS
    base = key + pair // heads * stride_batch + pair % heads * stride_head
    vectors = load_tile(base, start, stride_token, length, DIM, BLOCK_DIM, KEYS, True)
    index = start + tl.arange(0, KEYS)
    factor = 1 / tl.maximum(norm(vectors), NORM_EPS)
    tl.store(inverse + pair * length + index, factor, index < length)
    if UNIT:
        units = vectors.to(tl.float32) * factor[:, None]
        base = unit_keys + pair * length * BLOCK_DIM
        store_tile(base, units, start, BLOCK_DIM, length, BLOCK_DIM, BLOCK_DIM, KEYS)


@triton.jit
def key_scales(
    key_scale, start, length, SCORE: tl.constexpr, KEYS: tl.constexpr, MASKED: tl.constexpr
):
    """`1/‖k‖` of keys start … start + KEYS, (KEYS,); 1 where scores are not cosines."""
    if SCORE == "cosine":
        index = start + tl.arange(0, KEYS)
        if MASKED:
            return tl.load(key_scale + index, index < length, other=0.0)
        else:
            return tl.load(key_scale + index)
    else:
        return tl.full((KEYS,), 1.0, tl.float32)


@triton.jit
def score_tile(
    q,
    key_base,
    key_scale,
    stride_token,
    start,
    scale,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    key_length,
    window,
    SCORE: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    MASKED: tl.constexpr,
):
    """What `stages.score` gives of rows q (ROWS, D) and keys start … start + KEYS, (ROWS, KEYS).

    `cosine here` is the cosine of keys whose norms nobody computed before.
    """
    k = load_tile(key_base, start, stride_token, key_length, DIM, BLOCK_DIM, KEYS, MASKED)
    dots = product(q, tl.trans(k), None)
    if SCORE == "cosine here":
        inverse = 1 / tl.maximum(norm(k), NORM_EPS)
    else:
        inverse = key_scales(key_scale, start, key_length, SCORE, KEYS, MASKED)
    return score(
        dots,
        scale[:, None],
        inverse[None, :],
        bias[:, None],
        by_distance,
        own[:, None],
        own_decay[:, None],
        decay,
        (start + tl.arange(0, KEYS))[None, :],
        key_length,
        window,
        "cosine" if SCORE == "cosine here" else SCORE,
        CAUSAL,
        DISTANCE,
        DECAY,
        HAS_WINDOW,
        LATE,
        MASKED,
    )


@triton.jit
def add_up(
    total,
    highest,
    shift,
    low,
    high,
    q,
    key_base,
    key_scale,
    stride_token,
    scale,
    late,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    DEGREE: tl.constexpr,
    QUICK: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`Σ f`, `max f` and the shift of every row over keys low … high."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        x, fall = score_tile(
            q, key_base, key_scale, stride_token, start, scale, bias, by_distance, own, own_decay,
            decay, key_length, window, SCORE, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE, DIM,
            BLOCK_DIM, KEYS, MASKED,
        )  # fmt: skip
        if POSITIVITY == "exp":
            risen = tl.maximum(shift, tl.max(x, 1) * late)
            f = positive(x, late[:, None], risen[:, None], POSITIVITY, DEGREE, QUICK)
            total = total * tl.exp2(shift - risen) + tl.sum(f, 1)
            shift = risen
        else:
            f = faded(positive(x, late[:, None], 0.0, POSITIVITY, DEGREE, QUICK), fall, DECAY)
            total += tl.sum(f, 1)
            highest = tl.maximum(highest, tl.max(f, 1))
    return total, highest, shift


@triton.jit
def add_up_row(
    low,
    full_low,
    full_high,
    high,
    q,
    key_base,
    key_scale,
    stride_token,
    scale,
    late,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    DEGREE: tl.constexpr,
    QUICK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """`Σ f`, `max f` and the shift of every row over all its keys."""
    total = tl.zeros((ROWS,), tl.float32)
    highest = tl.zeros((ROWS,), tl.float32)
    shift = tl.full((ROWS,), LOWEST if POSITIVITY == "exp" else 0.0, tl.float32)
    if HAS_WINDOW:
        total, highest, shift = add_up(
            total, highest, shift, low, full_low, q, key_base, key_scale, stride_token, scale, late,
            bias, by_distance, own, own_decay, decay, key_length, window, SCORE, POSITIVITY, CAUSAL,
            DISTANCE, DECAY, HAS_WINDOW, LATE, DIM, BLOCK_DIM, KEYS, DEGREE, QUICK, 1, True,
        )  # fmt: skip
    total, highest, shift = add_up(
        total, highest, shift, full_low, full_high, q, key_base, key_scale, stride_token, scale,
        late, bias, by_distance, own, own_decay, decay, key_length, window, SCORE, POSITIVITY,
        CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE, DIM, BLOCK_DIM, KEYS, DEGREE, QUICK, STAGES,
        False,
    )  # fmt: skip
    total, highest, shift = add_up(
        total, highest, shift, full_high, high, q, key_base, key_scale, stride_token, scale, late,
        bias, by_distance, own, own_decay, decay, key_length, window, SCORE, POSITIVITY, CAUSAL,
        DISTANCE, DECAY, HAS_WINDOW, LATE, DIM, BLOCK_DIM, KEYS, DEGREE, QUICK, 1, True,
    )  # fmt: skip
    left_out = positive_scale(late, POSITIVITY, QUICK)
    total *= left_out
    if POSITIVITY == "exp":
        highest = tl.where(total > 0, 1.0, 0.0)
    else:
        highest *= left_out
    return total, highest, shift


@triton.jit
def mix(
    mixed,
    total,
    shift,
    low,
    high,
    q,
    key_base,
    key_scale,
    stride_token,
    value_base,
    stride_value,
    scale,
    late,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    rise,
    drop,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SWEEPS: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    KEYS: tl.constexpr,
    DEGREE: tl.constexpr,
    QUICK: tl.constexpr,
    STAGES: tl.constexpr,
    MASKED: tl.constexpr,
):
    """`Σ w v` and `Σ w` of every row over keys low … high, unnormalised."""
    for start in tl.range(low, high, KEYS, num_stages=STAGES):
        x, fall = score_tile(
            q, key_base, key_scale, stride_token, start, scale, bias, by_distance, own, own_decay,
            decay, key_length, window, SCORE, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE, DIM,
            BLOCK_DIM, KEYS, MASKED,
        )  # fmt: skip
        if POSITIVITY == "exp" and SWEEPS == 1:
            risen = tl.maximum(shift, tl.max(x, 1) * late)
            fallen = tl.exp2(shift - risen)
            shift = risen
            total *= fallen
            mixed *= fallen[:, None]
        w = positive(x, late[:, None], shift[:, None], POSITIVITY, DEGREE, QUICK)
        w = faded(w, fall, DECAY)
        if SWEEPS == 2:
            w = power(tl.maximum(w * rise[:, None] - drop[:, None], 0.0), POWER)
        total += tl.sum(w, 1)
        if HAS_VALUE:
            v = load_tile(
                value_base, start, stride_value, key_length, VALUE_DIM, BLOCK_VALUE, KEYS, MASKED
            )
            if MASKED:
                # as measured, heads of 128 on 32,768 tokens (H200): with values cleared last
                # softmax takes 8.4 ms and LSSA 12.3, with values cleared first 9.1 and 10.9
                first: tl.constexpr = POSITIVITY != "exp" or BLOCK_VALUE != 128
                mixed, v = without_hidden(mixed, v, x, first)
            mixed = product(narrow(w, v.dtype), v, mixed)
    return mixed, total, shift


@triton.jit
def mix_row(
    low,
    full_low,
    full_high,
    high,
    q,
    key_base,
    key_scale,
    stride_token,
    value_base,
    stride_value,
    scale,
    late,
    bias,
    by_distance,
    own,
    own_decay,
    decay,
    shift,
    rise,
    drop,
    key_length,
    window,
    SCORE: tl.constexpr,
    POSITIVITY: tl.constexpr,
    POWER: tl.constexpr,
    SWEEPS: tl.constexpr,
    CAUSAL: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    LATE: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    DEGREE: tl.constexpr,
    QUICK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """`Σ w v`, `Σ w` and the shift of every row over all its keys."""
    left_out = positive_scale(late, POSITIVITY, QUICK)
    rise = rise * left_out
    mixed = tl.zeros((ROWS, BLOCK_VALUE), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    if HAS_WINDOW:
        mixed, total, shift = mix(
            mixed, total, shift, low, full_low, q, key_base, key_scale, stride_token, value_base,
            stride_value, scale, late, bias, by_distance, own, own_decay, decay, rise, drop,
            key_length, window, SCORE, POSITIVITY, POWER, SWEEPS, CAUSAL, DISTANCE, DECAY,
            HAS_WINDOW, LATE, HAS_VALUE, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, KEYS, DEGREE,
            QUICK, 1, True,
        )  # fmt: skip
    mixed, total, shift = mix(
        mixed, total, shift, full_low, full_high, q, key_base, key_scale, stride_token, value_base,
        stride_value, scale, late, bias, by_distance, own, own_decay, decay, rise, drop, key_length,
        window, SCORE, POSITIVITY, POWER, SWEEPS, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE,
        HAS_VALUE, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, KEYS, DEGREE, QUICK, STAGES, False,
    )  # fmt: skip
    mixed, total, shift = mix(
        mixed, total, shift, full_high, high, q, key_base, key_scale, stride_token, value_base,
        stride_value, scale, late, bias, by_distance, own, own_decay, decay, rise, drop, key_length,
        window, SCORE, POSITIVITY, POWER, SWEEPS, CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE,
        HAS_VALUE, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, KEYS, DEGREE, QUICK, 1, True,
    )  # fmt: skip
    if SWEEPS == 1:
        mixed *= left_out[:, None]
        total *= left_out
    return mixed, total, shift


@triton.jit
def forward_kernel(
    query,
    key,
    value,
    output,
    scalars,
    flags,
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
    SWEEPS: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_HEAD_SCALE: tl.constexpr,
    DISTANCE: tl.constexpr,
    DECAY: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    SKIPS: tl.constexpr,
    LATE: tl.constexpr,
    ONE_MORE: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    DEGREE: tl.constexpr,
    QUICK: tl.constexpr,
    FLAGGED: tl.constexpr,
    TOGETHER: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Output (B, H, Lq, Dv), contiguous, and scalars (5, B·H, Lq), for ROWS rows of one head.

    `firsts`, where SKIPS, says which keys are read.

    `flags`, bytes (B·H, blocks of FLAGGED rows), says which rows are computed; all if FLAGGED is 0.

    `ONE_MORE`: a row has a key of score and value 0 besides, which is all that the backward and the
    statistics have to know of `off-by-one`: the scalars say it.

    `scalars` are the five numbers of a row that panels keep too (their `RowScalars`), of scores in
    base 2, as far as the backward of the variant reads them.
    """
    # the last rows first: causal ones see most keys, and short work fills the gaps at the end
    blocks = tl.cdiv(query_length, ROWS)
    pair, after = placed(tl.program_id(0), pairs, blocks, TOGETHER)
    block = blocks - 1 - after
    head = pair % heads
    batch = (pair // heads).to(tl.int64)
    key_pair = batch * (heads // groups) + head // groups
    start = block * ROWS
    row = start + tl.arange(0, ROWS)
    if FLAGGED > 0:
        flags += pair.to(tl.int64) * tl.cdiv(query_length, FLAGGED)
        if tl.load(flags + start // FLAGGED) == 0:
            return

    query_base = query + batch * query_batch + head.to(tl.int64) * query_head
    key_base = key + batch * key_batch + (head // groups).to(tl.int64) * key_head
    value_base = value + batch * value_batch + (head // groups).to(tl.int64) * value_head
    key_scale += key_pair * key_length

    q = load_tile(query_base, start, query_token, query_length, DIM, BLOCK_DIM, ROWS, True)
    count = visible_count(row, query_length, key_length, window, CAUSAL, HAS_WINDOW)
    scale = row_scale(count, scale_slope, scale_base) * unit_of(POSITIVITY)
    if LATE:
        scale = tl.maximum(scale, LEAST_SCALE)
    if SCORE == "cosine" or SCORE == "cosine here":  # noqa: PLR1714  # Triton knows no sets
        scale /= tl.maximum(norm(q), NORM_EPS)
    if HAS_HEAD_SCALE:
        scale *= tl.load(head_scale + head)
    bias = tl.log2(tl.maximum(count, 1.0))
    by_distance = distance_of(distance, head, key_length, POSITIVITY, DISTANCE)
    own = row + key_length - query_length
    decay += pair.to(tl.int64) * key_length
    own_decay = own_decays(decay, own, key_length, DECAY)
    late = tl.full((ROWS,), 1.0, tl.float32)
    if LATE:
        late = scale

    low, full_low, full_high, high = keys_seen(
        start, query_length, key_length, window, CAUSAL, HAS_WINDOW, ROWS, KEYS
    )
    firsts += pair.to(tl.int64) * tl.cdiv(query_length, ROWS)
    low, full_low, full_high = from_first(firsts, block, low, full_low, full_high, SKIPS, KEYS)
    total = tl.zeros((ROWS,), tl.float32)
    highest = tl.zeros((ROWS,), tl.float32)
    shift = tl.full((ROWS,), LOWEST if POSITIVITY == "exp" else 0.0, tl.float32)
    off = tl.zeros((ROWS,), tl.float32)
    rise = tl.full((ROWS,), 1.0, tl.float32)
    drop = tl.zeros((ROWS,), tl.float32)
    inside = row < query_length
    quick = QUICK
    if SWEEPS == 2:
        total, highest, shift = add_up_row(
            low, full_low, full_high, high, q, key_base, key_scale, key_token, scale, late, bias,
            by_distance, own, own_decay, decay, key_length, window, SCORE, POSITIVITY, CAUSAL,
            DISTANCE, DECAY, HAS_WINDOW, LATE, DIM, BLOCK_DIM, ROWS, KEYS, DEGREE, QUICK, STAGES,
        )  # fmt: skip
        if QUICK:
            quick = tl.min(tl.where(inside, total - count * FAR, 0.0)) >= 0
            if not quick:
                total, highest, shift = add_up_row(
                    low, full_low, full_high, high, q, key_base, key_scale, key_token, scale, late,
                    bias, by_distance, own, own_decay, decay, key_length, window, SCORE, POSITIVITY,
                    CAUSAL, DISTANCE, DECAY, HAS_WINDOW, LATE, DIM, BLOCK_DIM, ROWS, KEYS, DEGREE,
                    False, 1,
                )  # fmt: skip
        total, highest, off, rise, drop = weighing(
            total, highest, shift, count, POSITIVITY, NORMALISE, SHARPENED
        )

    mixed = tl.zeros((ROWS, BLOCK_VALUE), tl.float32)
    raised = tl.zeros((ROWS,), tl.float32)
    if HAS_VALUE or SHARPENED:
        if quick:
            mixed, raised, shift = mix_row(
                low, full_low, full_high, high, q, key_base, key_scale, key_token, value_base,
                value_token, scale, late, bias, by_distance, own, own_decay, decay, shift, rise,
                drop, key_length, window, SCORE, POSITIVITY, POWER, SWEEPS, CAUSAL, DISTANCE, DECAY,
                HAS_WINDOW, LATE, HAS_VALUE, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS,
                DEGREE, True, STAGES,
            )  # fmt: skip
        if QUICK and SWEEPS == 1:
            quick = tl.min(tl.where(inside, raised - count * FAR, 0.0)) >= 0
        if not quick:
            mixed, raised, shift = mix_row(
                low, full_low, full_high, high, q, key_base, key_scale, key_token, value_base,
                value_token, scale, late, bias, by_distance, own, own_decay, decay, shift, rise,
                drop, key_length, window, SCORE, POSITIVITY, POWER, SWEEPS, CAUSAL, DISTANCE, DECAY,
                HAS_WINDOW, LATE, HAS_VALUE, DIM, BLOCK_DIM, VALUE_DIM, BLOCK_VALUE, ROWS, KEYS,
                DEGREE, False, 1 if QUICK else STAGES,
            )  # fmt: skip
    mixed, shift, total, highest, raised = settled(
        mixed, raised, total, highest, shift, count, POSITIVITY, NORMALISE, SWEEPS, ONE_MORE
    )

    field = tl.cast(pairs, tl.int64) * query_length
    at = scalars + pair.to(tl.int64) * query_length + row
    tl.store(at, shift, inside)
    tl.store(at + field, total, inside)
    tl.store(at + 2 * field, highest, inside)
    tl.store(at + 3 * field, off, inside)
    tl.store(at + 4 * field, raised, inside)
    if HAS_VALUE:
        base = output + pair.to(tl.int64) * query_length * VALUE_DIM
        store_tile(base, mixed, start, VALUE_DIM, query_length, VALUE_DIM, BLOCK_VALUE, ROWS)
