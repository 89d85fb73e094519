"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter."""

import os
from dataclasses import fields, replace

import pytest
import torch
from adversarial import ADVERSARIAL, away, peaked
from battery import FAMILIES, WIDE, fused
from battery import outcome as forward_and_gradients
from strategies import CALLS, FUSED_VARIANTS, Call, amplification, assert_within, stages

from freeatten_core import attention
from freeatten_core.ops.backends.panels import statistics as chunked_statistics
from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

ops = pytest.importorskip(
    "freeatten_core.ops.backends.fused.ops", reason="Triton is not installed", exc_type=ImportError
)
launch = pytest.importorskip("freeatten_core.ops.backends.fused.launch")
tuning = pytest.importorskip("freeatten_core.ops.backends.fused.tuning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU, and Triton was imported without its interpreter", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("quiet_numpy")
each_variant = pytest.mark.parametrize("variant", FUSED_VARIANTS)
each_family = pytest.mark.parametrize("variant", FAMILIES)
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
LOW_PRECISION = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def one_head(call):
    """The same call with the fewest heads, for the interpreter."""
    return replace(call, batch=1, heads=call.groups)


def on_device(call, dtype, seed=0):
    inputs = [x.to(DEVICE) for x in call.tensors(dtype, seed)]
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    return inputs, options


def assert_matches_reference(call, variant, steps=12.0):
    """In float32: rows to `steps · ε · p (1 + O/u_max)`, gradients to 4 times that of the worst."""
    inputs, options = on_device(call, torch.float32)
    actual = forward_and_gradients(fused, inputs, variant, options)
    exact = forward_and_gradients(
        staged.reference_attention, [x.double() for x in inputs], variant, options
    )
    amplified = amplification(*inputs[:2], variant, options)
    step = steps * torch.finfo(torch.float32).eps
    assert actual[0].shape == exact[0].shape
    assert_within(actual[0], exact[0], step * inputs[2].abs().max() * amplified)
    worst = amplified.max().item()
    for one, other in zip(actual[1:], exact[1:], strict=True):
        assert_within(one, other, 4 * step * worst * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("variant", ["lssar:p=15", "softmax"])
@pytest.mark.parametrize(
    ("dim", "length"), [(16, 63), (60, 111), (64, 129), (100, 70), (128, 65), (256, 33)]
)
def test_tiles_as_shipped_equal_the_reference(variant, dim, length):
    assert_matches_reference(Call(length, length, dim, dim, batch=1, heads=1), variant)


@pytest.mark.parametrize("groups", [2, 3])
def test_grouped_heads_of_a_batch_equal_the_reference(groups):
    assert_matches_reference(Call(20, 20, 16, 16, heads=2 * groups, groups=groups), "lssar:p=3")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", ADVERSARIAL)
@pytest.mark.parametrize("variant", ["lssa", "lssar:p=15"])
def test_nothing_is_lost_or_non_finite_on_adversarial_rows(variant, case, dtype):
    inputs = [x[:, :1, -64:].to(DEVICE, dtype) for x in ADVERSARIAL[case]()]
    ones = torch.ones_like(inputs[2])
    output, *grads = forward_and_gradients(fused, (*inputs[:2], ones), variant, {})
    assert_within(output, ones, 2 * torch.finfo(dtype).eps + 1e-5)
    for x in (*grads, *forward_and_gradients(fused, inputs, variant, {})):
        assert x.isfinite().all()


@LOW_PRECISION
@pytest.mark.parametrize("variant", ["lssa", "lssar:p=1"])
def test_keys_that_all_point_away_share_the_row_equally(variant, dtype):
    """Every score is below −15: `quick_softplus` would give 0, the kernel must not use it."""
    query, key, value = (x.to(DEVICE, dtype) for x in away(256))
    mean = value.double().cumsum(2) / torch.arange(1, 257, device=DEVICE)[:, None]
    output = fused(query, key, value, variant)
    assert_within(output, mean, torch.finfo(dtype).eps * value.abs().max().double())


@LOW_PRECISION
@pytest.mark.parametrize("power", [15, 64])
def test_keys_that_point_away_are_sharpened_as_well_as_eager(power, dtype):
    """Both sweeps take the exact softplus: sharpening would amplify any difference between them."""
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(1, 1, 96, 64, generator=draw)
    key = torch.randn(1, 1, 96, 64, generator=draw) - 1
    inputs = [x.to(DEVICE, dtype) for x in (torch.ones_like(value), key, value)]
    variant = f"lssar:p={power}"
    actual = forward_and_gradients(fused, inputs, variant, {})
    eager = forward_and_gradients(staged.reference_attention, inputs, variant, {})
    exact = forward_and_gradients(
        staged.reference_attention, [x.double() for x in inputs], variant, {}
    )
    if power == 64 and dtype == torch.float16:
        actual = actual[:1]  # its gradients lie outside the range of the type
    for one, other, true in zip(actual, eager, exact, strict=False):
        rounding = 4 * torch.finfo(dtype).eps * true.abs().max()
        of_eager = (other - true).abs().max().nan_to_num(0)  # in float16 it gives NaN
        assert (one - true).abs().max() <= max(2 * of_eager, rounding)


def test_float16_of_a_row_that_is_not_normalised_by_its_sum_stays_finite():
    inputs = [x.to(DEVICE, torch.float16) for x in away(128)]
    exact = staged.reference_attention(*(x.double() for x in inputs), "lssa-count")
    output = fused(*inputs, "lssa-count")
    assert_within(output, exact, 1e-3)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("variant", ["softmax", "softmax-r:p=3", "lssar:p=3"])
def test_a_negative_slope_leaves_the_padding_of_a_tile_finite(variant):
    inputs = [x.to(DEVICE) for x in Call(100, 100, 16, 16, 1, 1).tensors(torch.float32)]
    options = {"distance_slope": torch.tensor([-1.0], device=DEVICE)}
    actual = forward_and_gradients(fused, inputs, variant, options)
    exact = forward_and_gradients(
        staged.reference_attention, [x.double() for x in inputs], variant, options
    )
    *by_token, slope = zip(actual, exact, strict=True)
    for one, other in by_token:
        assert_within(one, other, 1e-4 * max(1.0, other.abs().max().item()))
    assert_within(*slope, 1e-4 * _summed(inputs, variant, options))


def _summed(inputs, variant, options):
    """What the gradient of a slope is the sum of, by distance: parts that cancel round apart."""
    bias = {"distance_bias": torch.zeros(1, inputs[1].shape[2], device=DEVICE).double()}
    wide = [x.double() for x in inputs]
    *_, by_distance = forward_and_gradients(
        staged.reference_attention, wide, variant, {**options, **bias}
    )
    distance = torch.arange(by_distance.shape[-1], device=DEVICE)
    return float((by_distance.abs() * distance).sum())


def test_strided_constants_equal_contiguous_ones():
    inputs = [x.to(DEVICE) for x in Call(20, 20, 16, 16, 1, 4).tensors(torch.float32)]
    scale = torch.tensor(1.7, device=DEVICE).expand(4)
    slope = torch.linspace(0, 1, 8, device=DEVICE)[::2]
    strided = fused(*inputs, "lssa", head_scale=scale, distance_slope=slope)
    plain = {"head_scale": scale.clone(), "distance_slope": slope.clone()}
    assert torch.equal(strided, fused(*inputs, "lssa", **plain))


@LOW_PRECISION
def test_a_peaked_row_does_not_overflow(dtype):
    query, key, value = (x.to(DEVICE, dtype) for x in peaked(1024))
    last = fused(query[:, :, -1:], key, value, "lssar:p=64")
    torch.testing.assert_close(last, value[:, :, 512:513])


@pytest.mark.usefixtures("small_tiles")
def test_strided_inputs_equal_contiguous_ones():
    plain, options = on_device(Call(20, 30, 16, 16, heads=4, groups=2), torch.float32)
    expected = forward_and_gradients(fused, plain, "lssar:p=3", options)
    layouts = {
        "by token": [x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain],
        "reversed": [x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0) for x in plain],
        "every other": [x.repeat_interleave(2, dim=2)[:, :, ::2] for x in plain],
    }
    for name, inputs in layouts.items():
        assert not inputs[0].is_contiguous(), name
        leaves = [x.detach().requires_grad_() for x in inputs]
        output = fused(*leaves, "lssar:p=3", **options)
        assert torch.equal(output, expected[0]), name


def test_one_key_shared_without_memory_of_its_own():
    query, key, value = (x.to(DEVICE) for x in Call(6, 6, 16, 16).tensors(torch.float32))
    key, value = (x[:, :1, :1].expand(-1, 2, 6, -1) for x in (key, value))
    torch.testing.assert_close(fused(query, key, value, "lssar:p=15"), value)


@pytest.mark.parametrize("axis", ["head", "token"])
def test_offsets_beyond_two_billion_elements_are_reached(axis):
    """Untouched pages of the 5 GB take no memory on a CPU."""
    head, token = (2**31 + 64, 16) if axis == "head" else (16, 2**26 + 16)
    count = head + 34 * token if axis == "head" else 34 * token + 32
    storage = torch.empty(count, dtype=torch.float16, device=DEVICE)
    length = 34
    query, key, value = (
        x.to(DEVICE) for x in Call(length, length, 16, 16, 1).tensors(torch.float16)
    )
    far = storage.as_strided((1, 2, length, 16), (0, head, token, 1))
    far.copy_(key)
    near = fused(query, key, value, "lssa")
    assert torch.equal(fused(query, far, value, "lssa"), near)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("broken", ["query", "key", "value"])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15", "sigmoid", "relu"])
def test_what_is_not_finite_shows_where_it_is_visible_and_nowhere_else(variant, broken, bad):
    inputs, _ = on_device(Call(40, 40, 16, 16, batch=1, heads=1), torch.float32)
    where = {"query": 0, "key": 1, "value": 2}[broken]
    inputs[where][:, :, 21] = bad
    finite = fused(*inputs, variant)[0, 0].isfinite().all(-1)
    reached = torch.arange(40) == 21 if broken == "query" else torch.arange(40) >= 21
    assert finite[~reached].all()
    if torch.tensor(bad).isnan() or variant.startswith("lss"):
        assert not finite[reached].any()


@pytest.mark.usefixtures("small_tiles")
def test_of_the_terms_only_those_asked_for_get_a_gradient():
    inputs, options = on_device(
        Call(20, 20, 16, 16, 1, head_scale=True, distance_slope=True, distance_bias=5),
        torch.float32,
    )
    expected = forward_and_gradients(fused, inputs, "lssar:p=3", options)[4:]
    for name, gradient in zip(ScoreTerms._fields, expected, strict=True):
        number = options[name].clone().requires_grad_()
        output = fused(*inputs, "lssar:p=3", **options | {name: number})
        mixture = torch.randn(
            output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        (alone,) = torch.autograd.grad(output, number, mixture.to(output))
        assert alone.dtype == torch.float64
        assert torch.equal(alone, gradient)


@pytest.mark.usefixtures("small_tiles")
def test_gradients_by_distance_hold_over_any_rows_at_a_time(monkeypatch):
    """Rows are written by distance in parts that fit in memory."""
    call = Call(70, 90, 16, 16, 1, 2, groups=2, distance_bias=40, window=60)
    inputs, options = on_device(call, torch.float32)
    whole = forward_and_gradients(fused, inputs, "lssar:p=3", options)[4]
    monkeypatch.setattr(launch, "DISTANCE_SCORES", 1)
    parts = forward_and_gradients(fused, inputs, "lssar:p=3", options)[4]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize(
    ("dim", "dtype", "count"), [(16, torch.float32, 1), (8, torch.float32, 0), (16, WIDE, 0)]
)
def test_cuda_tensors_take_the_fused_path_and_the_rest_the_chunked_one(
    dim, dtype, count, monkeypatch
):
    calls = []

    def counted(*call):
        calls.append(call)
        return computed(*call)

    computed = ops.attention
    monkeypatch.setattr(ops, "attention", counted)
    attention(*(x.to(DEVICE) for x in Call(9, 9, dim, 16).tensors(dtype)), "lssa")
    assert len(calls) == count


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_a_call_of_131072_tokens_works_in_linear_memory(variant):
    length = 131_072
    draw = torch.Generator(DEVICE).manual_seed(0)
    inputs = [
        torch.randn(1, 1, length, 64, device=DEVICE, generator=draw, dtype=torch.bfloat16)
        for _ in range(3)
    ]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output, *grads = forward_and_gradients(fused, inputs, variant, {})
    assert torch.cuda.max_memory_allocated() - before < 40 * inputs[0].nbytes
    last = [inputs[0][:, :, -8:], *inputs[1:]]
    exact = staged.reference_attention(*(x.double() for x in last), variant)
    torch.testing.assert_close(output[:, :, -8:].double(), exact, rtol=0, atol=2e-2)
    assert all(grad.isfinite().all() for grad in grads)


# Row statistics


LEARNED_CALLS = {
    "window": Call(40, 50, 16, 16, batch=1, groups=2, window=15),
    "slope and scale": Call(
        40, 40, 16, 16, batch=1, groups=2, head_scale=True, distance_slope=True
    ),
    "everything": Call(
        40, 50, 16, 16, batch=1, groups=2, window=35, head_scale=True, distance_slope=True,
        distance_bias=12,
    ),
}  # fmt: skip


def assert_statistics_equal_those_of_the_chunked_path(call, variant):
    query, key, _ = call.tensors(torch.float32)
    options = call.options
    terms = ScoreTerms(*(options[name] for name in ScoreTerms._fields))
    problem = check(
        query, key, None, variant, **call.masking, terms=terms, window=options["window"]
    )
    actual = ops.row_statistics(
        problem, query.to(DEVICE), key.to(DEVICE), terms.map(lambda x: x.to(DEVICE))
    )
    exact = chunked_statistics.row_statistics(problem, query.double(), key.double(), terms)
    amplified = amplification(query, key, variant, options)[..., 0]
    for field in fields(actual):
        one, other = getattr(actual, field.name).cpu(), getattr(exact, field.name)
        largest = 40 if field.name == "mean_distance" else other.abs().clamp(min=1)
        assert_within(one, other, 2e-6 * amplified * largest)


@pytest.mark.usefixtures("small_tiles")
@each_family
def test_statistics_of_rows_that_see_no_key_equal_those_of_the_chunked_path(variant):
    query, key, _ = Call(40, 20, 16, 16, batch=1).tensors(torch.float32)
    problem = check(query, key, None, variant, is_causal=True, enable_gqa=False)
    actual = ops.row_statistics(problem, query.to(DEVICE), key.to(DEVICE))
    exact = chunked_statistics.row_statistics(problem, query.double(), key.double())
    for field in fields(actual):
        one, other = getattr(actual, field.name).cpu(), getattr(exact, field.name)
        assert_within(one[..., :20], other[..., :20], 1e-6)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("is_causal", [True, False])
@each_variant
def test_statistics_equal_those_of_the_chunked_path(variant, is_causal):
    call = Call(40, 40, 16, 16, batch=1, groups=2, is_causal=is_causal)
    assert_statistics_equal_those_of_the_chunked_path(call, variant)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("call", LEARNED_CALLS.values(), ids=LEARNED_CALLS.keys())
@each_family
def test_statistics_of_learned_scores_and_windows_equal_those_of_the_chunked_path(variant, call):
    assert_statistics_equal_those_of_the_chunked_path(call, variant)


def test_statistics_of_low_precision_describe_the_weights_as_rounded():
    query, key, _ = Call(60, 60, 16, 16, batch=1, heads=1).tensors(torch.bfloat16)
    problem = check(query, key, None, "lssar:p=15", is_causal=True, enable_gqa=False)
    sums = ops.row_statistics(problem, query.to(DEVICE), key.to(DEVICE)).row_sum
    assert (sums - 1).abs().max() < torch.finfo(torch.bfloat16).eps
    assert stages("lssar:p=15").sums_to_one
    assert not torch.equal(sums, torch.ones_like(sums))
