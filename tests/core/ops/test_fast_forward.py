"""LSSAR's forward with coarse sums: as near to float64 as promised, or by the exact kernel."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from battery import fused
from battery import outcome as forward_and_gradients
from needs_triton import require_kernels
from strategies import Call

from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
launch = import_module("freeatten_core.ops.backends.fused.launch")
triton = import_module("triton")
tl = triton.language
fast_launch = import_module("freeatten_core.ops.backends.fused.fast_launch")
fast_forward = import_module("freeatten_core.ops.backends.fused.fast_forward")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("quiet_numpy", "short_coarse_calls")
ROWS = 130 if DEVICE == "cuda" else 100
"""Two blocks of rows and more on a GPU; of the first the exact kernel computes all."""
SQUARE = Call(200, 200, 64, 64, batch=1, heads=1)
CALLS = {
    "square": SQUARE,
    "heads of 128": Call(130, 130, 128, 128, batch=1, heads=1),
    "grouped queries": Call(ROWS, ROWS, 64, 64, batch=1, heads=4, groups=2),
    "longer cache": Call(70, 170, 64, 64, batch=1, heads=1),
    "not causal": Call(ROWS, 140, 64, 64, batch=1, heads=1, is_causal=False),
    "heads of 60": Call(150, 150, 60, 40, batch=1, heads=1),
    "more queries than keys": Call(170, 100, 64, 64, batch=1, heads=1),
}
POWERS = 3, 15
"""The lowest and the highest that have it."""


def call_cases():
    """Every call with either power, random and near a key; the interpreter takes seconds for each,
    and both powers of one call, and the higher one of every call, show what the others do."""
    return [
        pytest.param(
            call,
            near,
            f"lssar:p={power}",
            id=f"{name}-{'near a key' if near else 'random'}-lssar:p={power}",
            marks=[] if name == "square" or (near and power == 15) else [pytest.mark.slow],
        )
        for name, call in CALLS.items()
        for near in (False, True)
        for power in POWERS
    ]


RELATIVE, OF_A_ROW = 2.3e-3, 8e-3
"""What the error may be, of all of an output and of its worst row."""


def inputs_of(call, near):
    """Random ones; if `near` every query is near a key that it sees, so that its row rises far
    above its mean."""
    query, key, value = call.tensors(torch.float32)
    if near:
        rows = (torch.arange(call.query_length) + call.key_length - call.query_length).clamp(min=0)
        query = 0.5 * query + key.repeat_interleave(call.groups, dim=1)[:, :, rows]
    return [x.to(DEVICE, torch.bfloat16) for x in (query, key, value)]


def errors(found, wanted):
    """Relative to float64: of all, and of the worst row."""
    apart = (found.double() - wanted).norm(dim=-1)
    return (apart.norm() / wanted.norm()).item(), (apart / wanted.norm(dim=-1)).nan_to_num().max()


def of_float64(inputs, variant, options):
    return forward_and_gradients(
        staged.reference_attention, [x.double() for x in inputs], variant, options
    )


@pytest.fixture
def flags(monkeypatch):
    """Those of every forward, in order."""
    found = []

    def compute_most(*call):
        flagged, rows = computed(*call)
        found.append(flagged.clone())
        return flagged, rows

    computed = fast_launch.compute_most
    monkeypatch.setattr(fast_launch, "compute_most", compute_most)
    return found


@triton.jit
def sum_up(scores, sums, tops, factor, rows: tl.constexpr, keys: tl.constexpr):
    at = tl.arange(0, rows)[:, None] * keys + tl.arange(0, keys)[None, :]
    y = tl.load(scores + at)
    of_row = fast_forward.softplus_of_row(tl.zeros((rows,), tl.float32) + factor)
    total = fast_forward.coarse_sums(y, of_row[0], of_row[1], of_row[2], rows, keys)
    tl.store(sums + tl.arange(0, rows), tl.sum(total, 1))
    highest = tl.max(fast_forward.largest_bits(y, rows, keys), 1)
    tl.store(tops + tl.arange(0, rows), highest.to(tl.float32, bitcast=True))


def coarsely(scores, factor=1.3):
    """Sum of softplus and largest product of rows of scores in base 2, by the kernel's functions,
    and what a product is multiplied with."""
    unit = fast_forward.SPAN.value * factor
    sums, tops = (torch.empty(len(scores), device=DEVICE) for _ in range(2))
    sum_up[(1,)]((scores / unit).to(DEVICE), sums, tops, factor, *scores.shape)
    return sums.cpu() * unit, tops.cpu(), unit


@pytest.mark.parametrize("factor", [1.0, 1.3, 1.99])
@pytest.mark.parametrize("spread", [0.3, 2.0, 7.0, 15.0])
def test_sums_of_softplus_are_near_and_the_largest_is_the_largest(spread, factor):
    scores = spread * torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    sums, tops, unit = coarsely(scores, factor)
    wanted = torch.log2(1 + torch.exp2(scores.double())).sum(1)
    assert ((sums - wanted).abs() / wanted).max() < 3e-3
    assert torch.equal(tops, (scores / unit).amax(1))


@pytest.mark.parametrize("factor", [1.0, 1.3, 1.6, 1.99])
@pytest.mark.parametrize(("spread", "most"), [(2.0, 1.5e-3), (7.0, 3e-4), (15.0, 2e-4)])
def test_errors_of_single_keys_cancel_and_those_of_a_row_remain(spread, most, factor):
    scores = spread * torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    sums, *_ = coarsely(scores, factor)
    wanted = torch.log2(1 + torch.exp2(scores.double())).sum(1)
    assert (sums.double().sum() / wanted.sum() - 1).abs() < most


def test_hidden_keys_add_nothing_and_what_is_no_number_spreads():
    scores = torch.zeros(16, 64)
    scores[0] = -math.inf
    scores[1, 5] = math.nan
    scores[2, 7:] = -math.inf
    sums, *_ = coarsely(scores)
    assert sums[0] == 0
    assert sums.isnan().tolist() == [row == 1 for row in range(16)]
    assert sums[2] == pytest.approx(7, rel=6e-3)


@triton.jit
def lift(scores, found, drop, bend, rows: tl.constexpr, keys: tl.constexpr, curved: tl.constexpr):
    unit = 20.0
    at = tl.arange(0, rows)[:, None] * keys + tl.arange(0, keys)[None, :]
    row = tl.zeros((rows,), tl.float32)
    y = tl.load(scores + at) / unit
    t = fast_forward.lifted(y, row + unit, row + unit * bend, row + drop, row + bend, curved)
    tl.store(found + at, t)


@pytest.mark.parametrize("curved", [True, False])
def test_what_is_above_the_mean_is_softplus_or_the_score_and_the_rest_is_zero(curved):
    mean, top = 2.0, 9.0
    scores = torch.linspace(-20, top, 16 * 16).view(16, 16)
    found = torch.empty_like(scores, device=DEVICE)
    bend = 1 / (top - mean)
    lift[(1,)](scores.to(DEVICE), found, mean * bend, bend, 16, 16, curved)
    softplus = torch.log2(1 + torch.exp2(scores.double()))
    wanted = (((softplus if curved else scores) - mean) * bend).clamp(0, 1)
    assert (found.cpu() - wanted).abs().max() < 4e-4
    assert (found.cpu()[softplus < mean] == 0).all()


@pytest.mark.parametrize(("call", "near", "variant"), call_cases())
def test_output_and_gradients_are_as_near_to_float64_as_promised(
    call, near, variant, flags, monkeypatch
):
    inputs = inputs_of(call, near)
    found = forward_and_gradients(fused, inputs, variant, call.options)
    assert not flags[0].all()
    wanted = of_float64(inputs, variant, call.options)
    relative, worst = errors(found[0], wanted[0])
    monkeypatch.setattr(fast_launch, "TOKENS", math.inf)
    exact = forward_and_gradients(fused, inputs, variant, call.options)
    relative_exact, worst_exact = errors(exact[0], wanted[0])
    assert len(flags) == 1
    assert relative <= max(RELATIVE, 1.1 * relative_exact)
    assert worst <= max(OF_A_ROW, 1.1 * worst_exact)
    for one, other, right in zip(found[1:], exact[1:], wanted[1:], strict=True):
        assert errors(one, right)[0] <= max(1.2 * errors(other, right)[0], 4e-3)


@pytest.mark.parametrize("variant", ["lssar:p=3", "lssar:p=15"])
def test_rows_that_are_level_are_those_of_the_exact_kernel(variant, flags, monkeypatch):
    """Equal keys, keys that point away, and the first rows of a text."""
    query, key, value = inputs_of(SQUARE, True)
    away = -torch.ones_like(key) + 0.01 * key
    for level in (key[:, :, :1].expand_as(key), away, torch.zeros_like(key)):
        fused(query.abs(), level, value, variant)
        assert flags[-1].all()
    coarse = fused(query, key, value, variant)
    assert flags[-1].tolist() == [[1, 0, 0, 0]]
    monkeypatch.setattr(fast_launch, "TOKENS", math.inf)
    exact = fused(query, key, value, variant)
    assert torch.equal(coarse[:, :, :64], exact[:, :, :64])


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_number_that_is_not_finite_reaches_the_rows_that_see_it_alone(which, number):
    inputs = inputs_of(SQUARE, True)
    clean = fused(*inputs, "lssar:p=15")
    inputs[which][:, :, 150, 3] = number
    output = fused(*inputs, "lssar:p=15")
    assert torch.equal(output[:, :, :128], clean[:, :, :128])  # blocks before that of the number
    assert output[:, :, :150].isfinite().all()
    assert not output[:, :, 150].isfinite().all()
    if which:
        assert not output[:, :, 199].isfinite().all()


def test_the_same_bits_come_every_time_and_of_every_stride():
    inputs = inputs_of(SQUARE, True)
    first = forward_and_gradients(fused, inputs, "lssar:p=15", {})
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
    second = forward_and_gradients(fused, strided, "lssar:p=15", {})
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "variant", "dtype"),
    [
        ({}, "lssar:p=2", torch.bfloat16),
        ({}, "lssar:p=16", torch.bfloat16),
        ({}, "lssa", torch.bfloat16),
        ({}, "softmax-r:p=15", torch.bfloat16),
        ({}, "lssar:p=15", torch.float16),
        ({}, "lssar:p=15", torch.float32),
        ({"dim": 32, "value_dim": 32}, "lssar:p=15", torch.bfloat16),
        ({"dim": 200}, "lssar:p=15", torch.bfloat16),
        ({"distance_slope": True}, "lssar:p=15", torch.bfloat16),
        ({"head_scale": True}, "lssar:p=15", torch.bfloat16),
        ({"decay": 1.0}, "lssar:p=15", torch.bfloat16),
        ({"window": 15}, "lssar:p=15", torch.bfloat16),
    ],
)
def test_other_calls_do_without(change, variant, dtype):
    assert not taken(replace(Call(20, 20, 64, 64, batch=1, heads=1), **change), variant, dtype)
    assert taken(SQUARE, "lssar:p=15", torch.bfloat16)


@pytest.mark.parametrize(("lengths", "expected"), [((63, 90), False), ((64, 64), True)])
def test_short_calls_do_without(lengths, expected, monkeypatch):
    monkeypatch.setattr(fast_launch, "TOKENS", 64)
    assert taken(Call(*lengths, 64, 64, batch=1), "lssar:p=15", torch.bfloat16) == expected


def taken(call, variant, dtype):
    inputs, options = call.tensors(dtype), call.options
    terms = ScoreTerms(*(options[name] for name in ScoreTerms._fields))
    problem = check(
        *inputs, variant, is_causal=True, enable_gqa=False, terms=terms, window=call.window
    )
    return fast_launch.takes(launch.Call(problem, *inputs, terms))
