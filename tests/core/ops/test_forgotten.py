"""Keys that a gate leaves nothing of are not read: how many, and what that changes."""

from importlib import import_module

import pytest
import torch
from battery import DEVICE, fused, outcome
from needs_triton import require_kernels
from strategies import Call, amplification, assert_within, dense

from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
forgotten = import_module("freeatten_core.ops.backends.fused.forgotten_launch")
launch = import_module("freeatten_core.ops.backends.fused.launch")
tuning = import_module("freeatten_core.ops.backends.fused.tuning")

pytestmark = pytest.mark.usefixtures("small_tiles", "quiet_numpy")
slow = [pytest.mark.slow]
SIGMOID = "stages:score=dot:positivity=sigmoid:normalise=l1"
RELU = "stages:score=dot:positivity=relu:normalise=l1:p=2"
FAMILIES = ("softmax", "softmax-r:p=3", "lssar:p=15", "softplus-r:p=3", SIGMOID)
TILES = tuning.Tiles(16, 32)
LENGTH = 180
"""Five whole blocks of keys, and a part of one."""


def log_gates(kind):
    """`log σ` of every key, (LENGTH,) float64."""
    steps = torch.arange(LENGTH).double()
    if kind == "near 1":
        return -0.001 * (1 + torch.cos(steps))
    if kind == "near 0":
        return -6 - 5 * torch.cos(steps)
    sudden = torch.where(steps % 70 == 60, -50.0, -0.001)
    return sudden if kind == "sudden" else torch.where(steps < 90, sudden, -3.0)


def gated(kind, call=None, dtype=torch.float32):
    """Inputs and options on the device."""
    call = call or Call(LENGTH, LENGTH, 16, 16, batch=1, heads=1)
    inputs = [x.to(DEVICE, dtype) for x in call.tensors()]
    # as the kernels have it: a sum of 1,000 in float32 is rounded by 3e-5
    decay = log_gates(kind)[: call.key_length].cumsum(-1).float().to(DEVICE, torch.float64)
    options = {
        n: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for n, x in call.options.items()
    }
    return inputs, {**options, "decay": decay.repeat(1, call.heads, 1)}


def firsts(inputs, variant, options, tiles=TILES):
    """The first key that every block of rows reads, (heads, blocks)."""
    query, key = inputs[:2]
    terms = ScoreTerms(*(options.get(name) for name in ScoreTerms._fields))
    problem = check(
        query, key, None, variant, is_causal=True, enable_gqa=options["enable_gqa"], terms=terms,
        window=options["window"],
    )  # fmt: skip
    call = launch.Call(problem, query, key, None, terms).gated
    return forgotten.first_keys(call, tiles), forgotten.last_rows(call, tiles)


@pytest.fixture(autouse=True)
def looked_for(monkeypatch):
    """Short calls have their forgotten keys looked for too, in several steps."""
    monkeypatch.setattr(forgotten, "LEAST_KEYS", 1)
    monkeypatch.setattr(forgotten, "AT_ONCE", 2)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("near 1", 0, 0), ("near 0", 0.5, 1), ("sudden", 0.3, 1), ("mixed", 0.3, 1)],
)
@pytest.mark.parametrize("variant", FAMILIES)
def test_blocks_are_left_out_whose_keys_give_a_row_nothing(variant, kind, least, most):
    """Of all whole blocks before a block of rows, a share; what they give together is below 2^−24
    of the sum of each of its rows."""
    inputs, options = gated(kind)
    found, _ = firsts(inputs, variant, options)
    found = found.cpu()
    before = torch.arange(0, LENGTH, TILES.rows) // TILES.keys
    assert (found % TILES.keys == 0).all()
    assert (found // TILES.keys <= before).all()
    assert least <= (found.sum() / (before.sum() * TILES.keys)).item() <= most
    result = dense(*inputs[:2], variant, options)
    left_out = torch.arange(LENGTH) < found.repeat_interleave(TILES.rows, 1)[:, :LENGTH, None]
    share = (result.normalise.cpu() * left_out).sum(-1)
    assert share.max() < 2.0**-24
    assert (result.weights.cpu() * left_out).sum(-1).max() < 2.0**-24


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        pytest.param(variant, kind, marks=[] if kind == "mixed" or variant == "softmax" else slow)
        for variant in FAMILIES
        for kind in ("near 1", "near 0", "sudden", "mixed")
    ],
)
def test_values_and_gradients_are_those_of_float64(variant, kind):
    inputs, options = gated(kind)
    actual = outcome(fused, inputs, variant, options)
    exact = outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)
    amplified = amplification(*inputs[:2], variant, options)
    step = 24 * torch.finfo(torch.float32).eps
    assert_within(actual[0], exact[0], step * inputs[2].abs().max() * amplified)
    worst = amplified.max().item()
    for one, other in zip(actual[1:], exact[1:], strict=True):
        assert_within(one, other, 4 * step * worst * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=slow)], ids=str
)
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_low_precision_is_better_than_twice_the_eager_error(variant, dtype):
    inputs, options = gated("mixed", dtype=dtype)
    assert firsts(inputs, variant, options)[0].sum() > 0
    actual = outcome(fused, inputs, variant, options)
    eager = outcome(staged.reference_attention, inputs, variant, options)
    exact = outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)
    for one, other, true in zip(actual, eager, exact, strict=True):
        bound = 4 * (other - true).square().mean().nan_to_num(torch.inf)
        assert (one - true).square().mean() <= bound


CALLS = {
    "longer cache": Call(40, LENGTH, 16, 16, batch=1, heads=1),
    "more queries than keys": Call(LENGTH, 120, 16, 16, batch=1, heads=1),
    "one key head": Call(LENGTH, LENGTH, 16, 16, batch=1, groups=2),
    "window": Call(LENGTH, LENGTH, 16, 16, batch=1, heads=1, window=90),
    "head scale": Call(LENGTH, LENGTH, 16, 16, batch=1, heads=1, head_scale=True),
    "few keys": Call(30, 30, 16, 16, batch=1, heads=1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("variant", ["softmax", pytest.param("softplus-r:p=3", marks=slow)])
def test_so_it_is_of_other_calls(variant, call):
    inputs, options = gated("near 0", call)
    found, _ = firsts(inputs, variant, options)
    assert (found.sum() > 0) == (call.key_length > 100)
    actual = outcome(fused, inputs, variant, options)
    exact = outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)
    bound = 1e-4 * amplification(*inputs[:2], variant, options).nan_to_num(1).max().item()
    for one, other in zip(actual, exact, strict=True):
        assert_within(one, other, bound * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_keys_that_are_left_out_are_not_read(variant):
    """Neither forward nor backward: a value that is not a number would show, and so would a key,
    of which the bound of cosines reads nothing."""
    inputs, options = gated("near 0")
    found, lasts = firsts(inputs, variant, options)
    row = TILES.rows * 10
    first = int(found[:, 10:].min())
    assert first >= TILES.keys
    assert (lasts[:, : first // TILES.keys] <= row).all()
    expected = outcome(fused, inputs, variant, options)
    inputs[2][:, :, :first] = torch.nan
    if variant == "lssar:p=15":
        inputs[1][:, :, :first] = torch.nan
    actual = outcome(fused, inputs, variant, options)
    assert torch.equal(actual[0][:, :, row:], expected[0][:, :, row:])
    assert torch.equal(actual[1][:, :, row:], expected[1][:, :, row:])


def test_a_long_key_is_read_however_far_it_is():
    """The bound is of the keys as long as they are: a far one can outweigh what a gate leaves."""
    inputs, options = gated("sudden")
    inputs[1][:, :, 40] *= 1000
    with_long, _ = firsts(inputs, "softmax", options)
    assert (with_long <= 32).all()
    inputs[1][:, :, 40] = torch.nan
    assert (firsts(inputs, "softmax", options)[0] <= 32).all()


def test_a_sum_that_rises_again_is_read_from_where_it_is_low():
    inputs, options = gated("near 0")
    options["decay"][:, :, 40] = -2000.0
    assert (firsts(inputs, "softmax", options)[0] <= 32).all()


@pytest.mark.parametrize(
    ("variant", "changes"),
    [(RELU, {}), ("softmax", {"distance_slope": torch.ones(1, dtype=torch.float64)})],
    ids=["relu", "slope"],
)
def test_without_a_bound_all_keys_are_read(variant, changes):
    inputs, options = gated("near 0")
    changes = {name: x.to(DEVICE) for name, x in changes.items()}
    assert firsts(inputs, variant, options | changes) == (None, None)


def test_short_calls_are_not_looked_into(monkeypatch):
    monkeypatch.setattr(forgotten, "LEAST_KEYS", LENGTH + 1)
    assert firsts(*(gated("near 0")[0], "softmax", gated("near 0")[1])) == (None, None)
