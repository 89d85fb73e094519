"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter."""

from importlib import import_module

import pytest
import torch
from adversarial import away
from battery import WIDE, fused
from battery import outcome as forward_and_gradients
from needs_triton import require_kernels
from strategies import Call, assert_within, far_apart, stages

from freeatten_core import attention
from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
ops = import_module("freeatten_core.ops.backends.fused.ops")
launch = import_module("freeatten_core.ops.backends.fused.launch")
compiled = import_module("freeatten_core.ops.backends.fused.compiled")
tuning = import_module("freeatten_core.ops.backends.fused.tuning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("quiet_numpy")


def on_device(call, dtype, seed=0):
    inputs = [x.to(DEVICE) for x in call.tensors(dtype, seed)]
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    return inputs, options


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
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


@pytest.mark.parametrize("axis", ["head", "token"])
def test_offsets_beyond_two_billion_elements_are_reached(axis):
    head, token = (2**31 + 64, 16) if axis == "head" else (16, 2**26 + 16)
    call = Call(34, 34, 16, 16, 1)
    query, key, value = (x.to(DEVICE) for x in call.tensors(torch.float16))
    far = far_apart(key, head, token)
    near = fused(query, key, value, "lssa")
    assert torch.equal(fused(query, far, value, "lssa"), near)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("together", [1, 2, 4])
def test_heads_in_turn_give_the_same_bits_as_all_at_a_time(together, monkeypatch):
    call = Call(40, 40, 16, 16, batch=1, heads=5)
    inputs = [x.float().to(DEVICE) for x in call.tensors()]
    wanted = forward_and_gradients(fused, inputs, "lssar:p=3", {})
    monkeypatch.setattr(compiled, "_known", {})
    monkeypatch.setattr(launch, "heads_together", lambda _: together)
    found = forward_and_gradients(fused, inputs, "lssar:p=3", {})
    assert all(map(torch.equal, found, wanted))


@pytest.mark.usefixtures("small_tiles")
def test_of_the_terms_only_those_asked_for_get_a_gradient():
    inputs, options = on_device(
        Call(20, 20, 16, 16, 1, head_scale=True, distance_slope=True, distance_bias=5, decay=3.0),
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
    call = Call(40, 50, 16, 16, 1, 2, groups=2, distance_bias=25, window=35)
    inputs, options = on_device(call, torch.float32)
    whole = forward_and_gradients(fused, inputs, "lssar:p=3", options)[4]
    monkeypatch.setattr(launch, "DISTANCE_SCORES", 1)
    parts = forward_and_gradients(fused, inputs, "lssar:p=3", options)[4]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize(
    ("dim", "dtype", "count"), [(16, torch.float32, 1), (8, torch.float32, 0), (16, WIDE, 0)]
)
def test_cuda_tensors_take_the_fused_path_and_the_rest_panels(dim, dtype, count, monkeypatch):
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


def test_statistics_of_low_precision_describe_the_weights_as_rounded():
    query, key, _ = Call(60, 60, 16, 16, batch=1, heads=1).tensors(torch.bfloat16)
    problem = check(query, key, None, "lssar:p=15", is_causal=True, enable_gqa=False)
    sums = ops.row_statistics(problem, query.to(DEVICE), key.to(DEVICE)).row_sum
    assert (sums - 1).abs().max() < torch.finfo(torch.bfloat16).eps
    assert stages("lssar:p=15").sums_to_one
    assert not torch.equal(sums, torch.ones_like(sums))
