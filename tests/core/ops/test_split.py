"""Few queries against many keys, which programs share out: see the battery for the values."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from battery import FAMILIES, fused
from needs_triton import require_kernels
from strategies import Call

from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
launch = import_module("freeatten_core.ops.backends.fused.launch")
split_launch = import_module("freeatten_core.ops.backends.fused.split_launch")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("quiet_numpy")
LONG = Call(1, 3000, 64, 64, batch=1, heads=2)


def called(call, variant="lssar:p=15", dtype=torch.bfloat16):
    """What the kernels are launched with."""
    inputs = [x.to(DEVICE, dtype) for x in call.tensors(torch.float32)]
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    terms = ScoreTerms(*(options[name] for name in ScoreTerms._fields))
    problem = check(*inputs, variant, **call.masking, terms=terms, window=options["window"])
    return launch.Call(problem, *inputs, terms)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"query_length": 16}, True),
        ({"query_length": 17}, False),
        ({"heads": 8, "groups": 4, "query_length": 4}, True),
        ({"heads": 8, "groups": 4, "query_length": 5}, False),
        ({"dim": 80}, True),
        ({"dim": 32, "value_dim": 32}, False),
        ({"dim": 200}, False),
        ({"key_length": 2000}, False),
        ({"window": 2000}, False),
        ({"window": 2048}, True),
        ({"is_causal": False}, True),
        ({"head_scale": True}, True),
        ({"distance_slope": True}, False),
        ({"decay": 1.0}, False),
    ],
)
def test_few_rows_of_many_keys_are_shared_out(change, taken):
    assert split_launch.takes(called(replace(LONG, **change))) is taken


@pytest.mark.parametrize(
    ("dtype", "taken"),
    [(torch.float32, False), (torch.float16, True), (torch.bfloat16, True)],
    ids=str,
)
def test_types_that_were_measured_are_shared_out(dtype, taken):
    assert split_launch.takes(called(LONG, dtype=dtype)) is taken


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("window", [None, 1, 40, 41, 100])
@pytest.mark.parametrize("keys", [1, 16, 17, 300])
@pytest.mark.parametrize("multiprocessors", [1, 8, 132])
def test_every_key_that_is_seen_is_in_one_part(keys, window, multiprocessors, monkeypatch):
    monkeypatch.setattr(split_launch, "multiprocessors", lambda _: multiprocessors)
    call = called(Call(1, keys, 16, 16, batch=1, heads=2, window=window))
    first, step, parts = split_launch.parts_of(call, 16)
    assert first % 16 == step % 16 == 0
    assert first <= max(0, keys - (window or keys)) < first + 16
    assert first + (parts - 1) * step < keys <= first + parts * step
    assert parts <= min(split_launch.MOST_PARTS, split_launch.PROGRAMS * multiprocessors)


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15", "off-by-one"])
def test_it_leaves_of_rows_what_the_other_forward_does(variant, rows):
    call = called(Call(rows, 90, 16, 16, batch=2, heads=4, groups=2), variant, torch.float32)
    found, wanted = split_launch.forward(call), launch.forward(call)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=2e-4, atol=1e-5)


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15"])
def test_the_same_bits_come_every_time_and_whatever_else_is_computed(variant, rows):
    call = Call(rows, 90, 16, 16, batch=3, heads=2)
    inputs = [x.to(DEVICE) for x in call.tensors(torch.float32)]
    once, again = (fused(*inputs, variant) for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15", "sigmoid"])
def test_what_is_not_finite_shows_where_it_is_visible_and_nowhere_else(variant, rows, which, bad):
    keys, window = 60, 30
    call = Call(rows, keys, 16, 16, batch=1, heads=1, window=window)
    inputs = [x.to(DEVICE) for x in call.tensors(torch.float32)]
    own = torch.arange(keys - rows, keys, device=DEVICE)
    place = 0 if which == 0 else keys - 2
    inputs[which][:, :, place] = bad
    reached = own == own[0] if which == 0 else own >= place
    finite = fused(*inputs, variant, window=window).isfinite().all(-1)[0, 0]
    assert finite[~reached].all()
    if torch.tensor(bad).isnan() or which == 2:
        assert not finite[reached].any()


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15", "sigmoid"])
def test_what_is_not_finite_before_the_window_shows_nowhere(variant, rows, bad):
    keys, window = 60, 30
    inputs = [x.to(DEVICE) for x in Call(rows, keys, 16, 16, 1, 1).tensors(torch.float32)]
    for hidden in inputs[1:]:
        hidden[:, :, : keys - rows - window + 1] = bad
    assert fused(*inputs, variant, window=window).isfinite().all()


@pytest.mark.usefixtures("shared_keys", "poisoned_memory")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("variant", FAMILIES)
def test_all_that_is_allocated_is_written(variant, rows):
    call = Call(rows, 50, 20, 17, batch=1, groups=2)
    inputs = [x.to(DEVICE) for x in call.tensors(torch.float32)]
    assert torch.empty(1).isnan()
    assert fused(*inputs, variant, enable_gqa=True).isfinite().all()


@pytest.mark.usefixtures("shared_keys")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("variant", [*FAMILIES, "lssar:p=15"])
def test_low_precision_is_better_than_twice_the_eager_error(variant, rows, dtype):
    inputs = [x.to(DEVICE, dtype) for x in Call(rows, 70, 64, 64, 1, 2).tensors(torch.float32)]
    output = fused(*inputs, variant)
    eager = staged.reference_attention(*inputs, variant)
    wanted = staged.reference_attention(*(x.double() for x in inputs), variant)
    assert output.dtype == dtype
    assert (output - wanted).norm() <= 2 * (eager - wanted).norm()
    assert (output - wanted).abs().max() <= 2 * (eager - wanted).abs().max()


def test_a_call_with_gradients_to_come_is_not_shared_out():
    call = called(LONG)
    assert split_launch.takes(call)
    call.query.requires_grad_()
    assert not split_launch.takes(call)
    with torch.no_grad():
        assert split_launch.takes(call)


@pytest.fixture
def every_call(monkeypatch):
    """Share out every call that the kernels can compute, shipped that way or not."""
    monkeypatch.setattr(split_launch, "takes", lambda _: True)


@pytest.mark.usefixtures("every_call")
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(("groups", "rows"), [(1, 1), (4, 1), (1, 5), (8, 2)])
@pytest.mark.parametrize("dim", [32, 64, 80, 128])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15"])
def test_a_long_cache_gives_what_float64_gives(variant, dim, groups, rows, dtype):
    call = Call(rows, 5001, dim, dim, batch=1, heads=8, groups=groups)
    inputs = [x.to(DEVICE, dtype) for x in call.tensors(torch.float32)]
    output = fused(*inputs, variant, **call.masking)
    wide = [x.double() for x in inputs]
    wanted = staged.reference_attention(*wide, variant, **call.masking)
    steps = 1 if dtype != torch.float32 else 100
    bound = steps * torch.finfo(dtype).eps
    assert (output.double() - wanted).norm() <= bound * wanted.norm()


@pytest.mark.usefixtures("every_call")
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize(
    "change", [{"window": 3001}, {"is_causal": False}, {"head_scale": True}], ids=str
)
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_windows_and_scales_of_a_long_cache_too(variant, change, dim, rows):
    call = replace(Call(rows, 5001, dim, dim, batch=1, heads=4, groups=2), **change)
    kernels = called(call, variant)
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    inputs = kernels.query, kernels.key, kernels.value
    output = fused(*inputs, variant, **options)
    wanted = staged.reference_attention(*(x.double() for x in inputs), variant, **options)
    assert (output.double() - wanted).norm() <= 4e-3 * wanted.norm()
