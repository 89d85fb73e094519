"""`fast_forward` for GPUs of capability 9.0, in Gluon: one warp brings tiles of keys and values,
and two groups of four warps compute 64 rows each, so that the products of one run while the other
has its arithmetic.

What is computed is in the functions that Triton's kernels have too.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from .fast_forward import (
    SPAN,
    UNEVEN,
    by_lane,
    factors_of_row,
    halves_of,
    judged,
    lane_sums,
    largest_bits,
    lifted,
    power_of_weights,
    softplus_of_row,
    sums_of_pairs,
)
from .stages import power
from .tiles import placed

__all__ = [
    "bring",
    "compute",
    "drain",
    "first_sweep",
    "hopper_forward_kernel",
    "mix",
    "packed",
]

FAR_BELOW = gl.constexpr(-1e30)
"""A product of what a row does not see: no weight, and 0 as softplus in either precision."""


@gluon.jit
def packed(y, ROWS: gl.constexpr, KEYS: gl.constexpr):
    """Pairs of a tile's products in float16, as `fast_forward.coarse_softplus` takes them."""
    low, high = gl.split(by_lane(y, ROWS, KEYS))
    return halves_of(low, high)


@gluon.jit
def bring(
    keys, values, key_ring, value_ring, key_full, key_empty, value_full, value_empty, row,
    value_row, column, tiles, KEYS: gl.constexpr, DIM: gl.constexpr, KEY_SLOTS: gl.constexpr,
    VALUE_SLOTS: gl.constexpr,
):  # fmt: skip
    """All tiles of keys, then all of keys and values, as slots become empty."""
    for j in range(tiles):
        s = j % KEY_SLOTS
        mbarrier.wait(key_empty.index(s), ((j // KEY_SLOTS) & 1) ^ 1)
        mbarrier.expect(key_full.index(s), KEYS * DIM * 2)
        tma.async_copy_global_to_shared(
            keys, [row + j * KEYS, 0], key_full.index(s), key_ring.index(s)
        )
    for j in range(tiles):
        p = tiles + j
        s = p % KEY_SLOTS
        mbarrier.wait(key_empty.index(s), ((p // KEY_SLOTS) & 1) ^ 1)
        mbarrier.expect(key_full.index(s), KEYS * DIM * 2)
        tma.async_copy_global_to_shared(
            keys, [row + j * KEYS, 0], key_full.index(s), key_ring.index(s)
        )
        s = j % VALUE_SLOTS
        mbarrier.wait(value_empty.index(s), ((j // VALUE_SLOTS) & 1) ^ 1)
        mbarrier.expect(value_full.index(s), KEYS * DIM * 2)
        tma.async_copy_global_to_shared(
            values, [value_row + j * KEYS, column], value_full.index(s), value_ring.index(s)
        )


@gluon.jit
def drain(
    key_full, key_empty, value_full, value_empty, tiles, KEY_SLOTS: gl.constexpr,
    VALUE_SLOTS: gl.constexpr,
):  # fmt: skip
    """Frees the slots of the second sweep, unread."""
    for j in range(tiles):
        p = tiles + j
        mbarrier.wait(key_full.index(p % KEY_SLOTS), (p // KEY_SLOTS) & 1)
        mbarrier.arrive(key_empty.index(p % KEY_SLOTS), count=1)
        mbarrier.wait(value_full.index(j % VALUE_SLOTS), (j // VALUE_SLOTS) & 1)
        mbarrier.arrive(value_empty.index(j % VALUE_SLOTS), count=1)


@gluon.jit
def first_sweep(
    queries, key_ring, key_full, key_empty, tiles, row, near, large, small, ROWS: gl.constexpr,
    KEYS: gl.constexpr, KEY_SLOTS: gl.constexpr, scores: gl.constexpr,
):  # fmt: skip
    """The sum of softplus by SPAN and by the row's factor, and the largest product, by lane."""
    zero = gl.zeros([ROWS, KEYS], gl.float32, layout=scores)
    total = sums_of_pairs(packed(zero, ROWS, KEYS), near, large, small) * 0
    highest = largest_bits(zero, ROWS, KEYS)
    mbarrier.wait(key_full.index(0), 0)
    following = warpgroup_mma(
        queries, key_ring.index(0).permute([1, 0]), zero, use_acc=False, is_async=True
    )
    for j in range(tiles - 1):
        y = warpgroup_mma_wait(0, [following])
        pairs = packed(y, ROWS, KEYS)
        highest = gl.maximum(highest, largest_bits(y, ROWS, KEYS))
        mbarrier.arrive(key_empty.index(j % KEY_SLOTS), count=1)
        p = j + 1
        mbarrier.wait(key_full.index(p % KEY_SLOTS), (p // KEY_SLOTS) & 1)
        following = warpgroup_mma(
            queries, key_ring.index(p % KEY_SLOTS).permute([1, 0]), zero, use_acc=False,
            is_async=True,
        )  # fmt: skip
        total += sums_of_pairs(pairs, near, large, small)
    y = warpgroup_mma_wait(0, [following])
    mbarrier.arrive(key_empty.index((tiles - 1) % KEY_SLOTS), count=1)
    key = (tiles - 1) * KEYS + gl.arange(0, KEYS, layout=gl.SliceLayout(0, scores))
    y = gl.where(key[None, :] <= row[:, None], y, FAR_BELOW)
    total += sums_of_pairs(packed(y, ROWS, KEYS), near, large, small)
    return total, gl.maximum(highest, largest_bits(y, ROWS, KEYS))


@gluon.jit
def mix(
    y, queries, key_ring, value_ring, key_full, key_empty, value_full, value_empty, tiles, row,
    unit, rise, drop, bend, POWER: gl.constexpr, CURVED: gl.constexpr, ROWS: gl.constexpr,
    KEYS: gl.constexpr, DIM: gl.constexpr, KEY_SLOTS: gl.constexpr, VALUE_SLOTS: gl.constexpr,
    scores: gl.constexpr, mixture: gl.constexpr,
):  # fmt: skip
    """The second sweep: `Σ w v`, and `Σ w` by lane."""
    weights: gl.constexpr = gl.DotOperandLayout(0, mixture, 2)
    zero = gl.zeros([ROWS, KEYS], gl.float32, layout=scores)
    mixed = gl.zeros([ROWS, DIM], gl.float32, layout=mixture)
    raised = lane_sums(zero, False, ROWS, KEYS)
    for j in range(tiles - 1):
        w = power_of_weights(lifted(y, unit, rise, drop, bend, CURVED), POWER, CURVED, 4)
        raised += lane_sums(w, False, ROWS, KEYS)
        narrow = gl.convert_layout(w.to(gl.bfloat16), weights)
        p = tiles + j + 1
        mbarrier.wait(key_full.index(p % KEY_SLOTS), (p // KEY_SLOTS) & 1)
        following = warpgroup_mma(
            queries, key_ring.index(p % KEY_SLOTS).permute([1, 0]), zero, use_acc=False,
            is_async=True,
        )  # fmt: skip
        mbarrier.wait(value_full.index(j % VALUE_SLOTS), (j // VALUE_SLOTS) & 1)
        adding = warpgroup_mma(narrow, value_ring.index(j % VALUE_SLOTS), mixed, is_async=True)
        y, mixed, narrow = warpgroup_mma_wait(0, [following, adding, narrow])
        mbarrier.arrive(key_empty.index(p % KEY_SLOTS), count=1)
        mbarrier.arrive(value_empty.index(j % VALUE_SLOTS), count=1)
    key = (tiles - 1) * KEYS + gl.arange(0, KEYS, layout=gl.SliceLayout(0, scores))
    y = gl.where(key[None, :] <= row[:, None], y, FAR_BELOW)
    w = power(lifted(y, unit, rise, drop, bend, True), POWER)
    raised += lane_sums(w, False, ROWS, KEYS)
    narrow = gl.convert_layout(w.to(gl.bfloat16), weights)
    p = tiles - 1
    mbarrier.wait(value_full.index(p % VALUE_SLOTS), (p // VALUE_SLOTS) & 1)
    mixed = warpgroup_mma(narrow, value_ring.index(p % VALUE_SLOTS), mixed, is_async=False)
    mbarrier.arrive(value_empty.index(p % VALUE_SLOTS), count=1)
    return mixed, raised


@gluon.jit
def compute(
    queries, query, output, scalars, flags, key_ring, value_ring, key_full, key_empty, value_full,
    value_empty, query_token, start, tiles, length, field, scale_slope, scale_base,
    POWER: gl.constexpr, ROWS: gl.constexpr, KEYS: gl.constexpr, DIM: gl.constexpr,
    KEY_SLOTS: gl.constexpr, VALUE_SLOTS: gl.constexpr,
):  # fmt: skip
    """ROWS rows from `start`, of one group of warps."""
    scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    mixture: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    of_row: gl.constexpr = gl.SliceLayout(1, scores)
    lines: gl.constexpr = gl.BlockedLayout([1, 8], [256 // DIM, DIM // 8], [4, 1], [1, 0])
    r = start + gl.arange(0, ROWS, layout=gl.SliceLayout(1, lines))
    d = gl.arange(0, DIM, layout=gl.SliceLayout(0, lines))
    q = gl.load(query + r[:, None].to(gl.int64) * query_token + d[None, :])
    near_scale, factor, reach = factors_of_row(
        q, (r + 1).to(gl.float32), scale_slope, scale_base, POWER
    )
    queries.store((q.to(gl.float32) * near_scale[:, None]).to(gl.float16))
    fence_async_shared()

    row = start + gl.arange(0, ROWS, layout=of_row)
    count = (row + 1).to(gl.float32)
    factor = gl.convert_layout(factor, of_row)
    reach = gl.convert_layout(reach, of_row)
    unit = factor * SPAN
    zero = gl.zeros([ROWS, KEYS], gl.float32, layout=scores)
    of_lane: gl.constexpr = packed(zero, ROWS, KEYS).type.layout
    of_pair: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, of_lane))
    near, large, small = softplus_of_row(gl.convert_layout(factor, of_pair))
    total, highest = first_sweep(
        queries, key_ring, key_full, key_empty, tiles, row, near, large, small, ROWS, KEYS,
        KEY_SLOTS, scores,
    )  # fmt: skip
    total = gl.convert_layout(gl.sum(total, 1), of_row) * unit
    top = gl.convert_layout(gl.max(highest, 1), of_row).to(gl.float32, bitcast=True) * unit
    top += gl.log2(1 + gl.exp2(-top))
    highest, off, level, uneven, bent = judged(total, top, count, reach, row < length, POWER)
    at = scalars + row
    gl.store(at, gl.zeros([ROWS], gl.float32, layout=of_row))
    gl.store(at + field, total)
    gl.store(at + 2 * field, highest)
    gl.store(at + 3 * field, off)
    flagged = level
    if level + uneven != 0:
        drain(key_full, key_empty, value_full, value_empty, tiles, KEY_SLOTS, VALUE_SLOTS)
        if level == 0:
            flagged = level + UNEVEN
    else:
        bend = count / (total * highest)
        rise = bend * unit
        drop = off / highest
        mixed = gl.zeros([ROWS, DIM], gl.float32, layout=mixture)
        raised = lane_sums(zero, False, ROWS, KEYS)
        # before the branch: of a product that begins in both its ways the compiler keeps one, and
        # that still running where they part, ptxas waits for every product at once
        s = tiles % KEY_SLOTS
        mbarrier.wait(key_full.index(s), (tiles // KEY_SLOTS) & 1)
        first = warpgroup_mma(
            queries, key_ring.index(s).permute([1, 0]), zero, use_acc=False, is_async=True
        )
        y = warpgroup_mma_wait(0, [first])
        mbarrier.arrive(key_empty.index(s), count=1)
        if bent != 0:
            mixed, raised = mix(
                y, queries, key_ring, value_ring, key_full, key_empty, value_full, value_empty,
                tiles, row, unit, rise, drop, bend, POWER, True, ROWS, KEYS, DIM, KEY_SLOTS,
                VALUE_SLOTS, scores, mixture,
            )  # fmt: skip
        else:
            mixed, raised = mix(
                y, queries, key_ring, value_ring, key_full, key_empty, value_full, value_empty,
                tiles, row, unit, rise, drop, bend, POWER, False, ROWS, KEYS, DIM, KEY_SLOTS,
                VALUE_SLOTS, scores, mixture,
            )  # fmt: skip
        sums = gl.convert_layout(gl.sum(raised, 1), of_row)
        gl.store(at + 4 * field, sums)
        mixed *= gl.convert_layout(1 / sums, gl.SliceLayout(1, mixture))[:, None]
        r_out = start + gl.arange(0, ROWS, layout=gl.SliceLayout(1, mixture))
        d_out = gl.arange(0, DIM, layout=gl.SliceLayout(0, mixture))
        to = output + r_out[:, None].to(gl.int64) * DIM + d_out[None, :]
        gl.store(to, mixed.to(gl.bfloat16))
        # 0 · NaN is NaN: a value that is not finite may have reached rows that do not see it
        broken = ~(gl.abs(mixed) < float("inf"))
        flagged = gl.max(gl.max(broken.to(gl.int32), 1), 0)
    gl.store(flags + start // ROWS, flagged.to(gl.int8))


@gluon.jit
def hopper_forward_kernel(
    keys, values, query, output, scalars, flags, query_batch, query_head, query_token, value_batch,
    value_head, value_column, pairs, heads, groups, length, scale_slope, scale_base,
    POWER: gl.constexpr, DIM: gl.constexpr, TOGETHER: gl.constexpr, ROWS: gl.constexpr,
    KEYS: gl.constexpr, KEY_SLOTS: gl.constexpr, VALUE_SLOTS: gl.constexpr,
    FEW_REGISTERS: gl.constexpr, REGISTERS: gl.constexpr,
):  # fmt: skip
    """What `fast_forward_kernel` writes, of as many causal queries as keys, whose number is a
    multiple of KEYS, which is 2 · ROWS; the second sweep of uneven blocks is left to
    `uneven_kernel`.

    Args:
        keys: descriptor of k/‖k‖ in float16, (B·Hkv·L, DIM).
        values: of the values as a matrix, whose first row of a head is value_batch · batch +
            value_head · head, and whose first column is value_column · head.
        flags: bytes (B·H, L / ROWS): 1 of blocks for `forward_kernel`, UNEVEN of those.
    """
    # the last rows first: they see most keys
    pair, after = placed(gl.program_id(0), pairs, length // KEYS, TOGETHER)
    block = length // KEYS - 1 - after
    head = pair % heads
    batch = pair // heads
    key_head = head // groups
    row = (batch * (heads // groups) + key_head) * length
    value_row = batch * value_batch + key_head * value_head
    column = key_head * value_column
    start = block * KEYS
    tiles = block + 1
    query += batch.to(gl.int64) * query_batch + head.to(gl.int64) * query_head
    output += pair.to(gl.int64) * length * DIM
    scalars += pair.to(gl.int64) * length
    flags += pair.to(gl.int64) * (length // ROWS)
    field = gl.cast(pairs, gl.int64) * length

    key_ring = gl.allocate_shared_memory(gl.float16, [KEY_SLOTS, KEYS, DIM], keys.layout)
    value_ring = gl.allocate_shared_memory(gl.bfloat16, [VALUE_SLOTS, KEYS, DIM], values.layout)
    query_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([ROWS, DIM], gl.float16)
    queries = gl.allocate_shared_memory(gl.float16, [2, ROWS, DIM], query_layout)
    barrier: gl.constexpr = mbarrier.MBarrierLayout()
    key_full = gl.allocate_shared_memory(gl.int64, [KEY_SLOTS, 1], barrier)
    key_empty = gl.allocate_shared_memory(gl.int64, [KEY_SLOTS, 1], barrier)
    value_full = gl.allocate_shared_memory(gl.int64, [VALUE_SLOTS, 1], barrier)
    value_empty = gl.allocate_shared_memory(gl.int64, [VALUE_SLOTS, 1], barrier)
    for i in gl.static_range(KEY_SLOTS):
        mbarrier.init(key_full.index(i), count=1)
        mbarrier.init(key_empty.index(i), count=2)
    for i in gl.static_range(VALUE_SLOTS):
        mbarrier.init(value_full.index(i), count=1)
        mbarrier.init(value_empty.index(i), count=2)
    gl.warp_specialize(
        [
            (compute, (
                queries.index(0), query, output, scalars, flags, key_ring, value_ring, key_full,
                key_empty, value_full, value_empty, query_token, start, tiles, length, field,
                scale_slope, scale_base, POWER, ROWS, KEYS, DIM, KEY_SLOTS, VALUE_SLOTS,
            )),
            (compute, (
                queries.index(1), query, output, scalars, flags, key_ring, value_ring, key_full,
                key_empty, value_full, value_empty, query_token, start + ROWS, tiles, length, field,
                scale_slope, scale_base, POWER, ROWS, KEYS, DIM, KEY_SLOTS, VALUE_SLOTS,
            )),
            (bring, (
                keys, values, key_ring, value_ring, key_full, key_empty, value_full, value_empty,
                row, value_row, column, tiles, KEYS, DIM, KEY_SLOTS, VALUE_SLOTS,
            )),
        ],
        [4, 1],
        [REGISTERS, FEW_REGISTERS],
    )  # fmt: skip
