from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import VARIANTS, Call, amplification, called_variants, dense, stages

from freeatten_core import attention
from freeatten_core.ops.backends.panels import panel
from freeatten_core.ops.call import FIRST_ROWS
from freeatten_core.ops.definitions import staged

each_variant = pytest.mark.parametrize("variant", VARIANTS)


def gradients(function, inputs, variant, options):
    """Gradients of a fixed random mixture of the output, for the inputs and the score's terms."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    terms = {name: x.clone().requires_grad_() for name, x in options.items() if torch.is_tensor(x)}
    options = options | terms
    output = function(*inputs, variant, **options)
    draw = torch.Generator().manual_seed(1)
    mixture = torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output.dtype)
    return torch.autograd.grad((output * mixture).sum(), [*inputs, *terms.values()])


def distance_to_kink(query, key, variant, options):
    """How far the nearest score or share is from a point without a derivative."""
    parsed = stages(variant)
    result = dense(query, key, variant, options)
    visible = result.visible.expand_as(result.score)
    near = [torch.tensor(1.0)]
    if parsed.positivity == "relu":
        near.append(result.score[visible].abs().min())
    if parsed.sharpen is not None:
        count = result.visible.sum(-1, keepdim=True)
        share = result.normalise * count
        above = share - staged.offset(share, count)
        rows = (count > FIRST_ROWS) & visible
        near.append(above[rows].abs().min() if rows.any() else near[0])
        highest = share.amax(-1, keepdim=True)[..., FIRST_ROWS:, :]
        near.append((highest - 1).abs().min() if highest.numel() else near[0])
    return min(x.item() for x in near)


def smooth_inputs(call, variant):
    """Random inputs at which every derivative exists."""
    return next(
        inputs
        for inputs in (call.tensors(seed=seed) for seed in range(100))
        if distance_to_kink(*inputs[:2], variant, call.options) > 2e-3
    )


def assert_equal_gradients(actual, expected, tolerance=1e-11):
    for one, other in zip(actual, expected, strict=True):
        scale = other.abs().max().clamp(min=1).item()
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


GRADCHECK_CALLS = {
    "causal": Call(5, 5, dim=3, value_dim=2, batch=1, heads=1),
    "all options": Call(
        2,
        5,
        dim=2,
        value_dim=1,
        batch=1,
        groups=2,
        window=4,
        head_scale=True,
        distance_slope=True,
        distance_bias=3,
    ),
}


@pytest.mark.parametrize("call", GRADCHECK_CALLS.values(), ids=GRADCHECK_CALLS.keys())
@each_variant
def test_gradcheck(variant, call):
    terms = {name: x for name, x in call.options.items() if torch.is_tensor(x)}
    inputs = [*smooth_inputs(call, variant), *terms.values()]

    def attend(query, key, value, *learned):
        options = call.options | dict(zip(terms, learned, strict=True))
        return attention(query, key, value, variant, **options)

    assert torch.autograd.gradcheck(
        attend,
        [x.requires_grad_() for x in inputs],
        atol=1e-6,
        rtol=1e-4,
        nondet_tol=0.0,
    )


@given(called_variants(), st.integers(1, 40), st.integers(1, 5000))
def test_equal_those_of_the_reference_for_any_call_and_panel(called, rows, elements):
    call, variant = called
    inputs = call.tensors(seed=rows)
    amplified = amplification(*inputs[:2], variant, call.options).max().item()
    assume(amplified < torch.inf)  # else rounding decides which gradient is right
    expected = gradients(staged.reference_attention, inputs, variant, call.options)
    with (
        patch.object(panel, "PANEL_ROWS", rows),
        patch.object(panel, "PANEL_ELEMENTS", elements),
    ):
        actual = gradients(attention, inputs, variant, call.options)
    tolerance = max(1e-11, 200 * torch.finfo(torch.float64).eps * amplified)
    assert_equal_gradients(actual, expected, tolerance)


@each_variant
def test_at_zero_vectors_are_finite_and_as_defined(variant):
    query, key, value = Call(12, 12).tensors()
    query[:, :, 5], key[:, :, [0, 7]], query[0, 1] = 0.0, 0.0, 0.0
    actual = gradients(attention, (query, key, value), variant, {})
    expected = gradients(staged.reference_attention, (query, key, value), variant, {})
    assert_equal_gradients(actual, expected)
    if stages(variant).cosine:
        assert (actual[0][:, :, 5] == 0).all()
        assert (actual[1][:, :, [0, 7]] == 0).all()


@each_variant
def test_of_uniform_rows_are_as_defined(variant):
    query, key, value = Call(12, 12).tensors()
    key[:] = key[:, :, :1]
    actual = gradients(attention, (query, key, value), variant, {})
    expected = gradients(staged.reference_attention, (query, key, value), variant, {})
    assert_equal_gradients(actual, expected)


@each_variant
def test_of_rows_that_see_no_key_are_zero(variant):
    query_grad = gradients(attention, Call(9, 4).tensors(), variant, {})[0]
    assert (query_grad[:, :, :5] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@each_variant
def test_have_shape_and_type_of_the_inputs(variant, dtype):
    inputs = Call(7, 9, heads=4, groups=2).tensors(dtype)
    for grad, x in zip(
        gradients(attention, inputs, variant, {"enable_gqa": True}), inputs, strict=True
    ):
        assert grad.shape == x.shape
        assert grad.dtype == dtype
        assert grad.isfinite().all()


def assert_close_in_float32(inputs, variant, steps=12):
    actual = gradients(attention, inputs, variant, {})
    exact = gradients(staged.reference_attention, [x.double() for x in inputs], variant, {})
    amplified = amplification(*inputs[:2], variant, {}).max().item()
    for one, other in zip(actual, exact, strict=True):
        error = (one - other).abs().max() / other.abs().max()
        assert error <= steps * torch.finfo(torch.float32).eps * amplified


@each_variant
def test_in_float32_are_close_to_the_reference(variant):
    assert_close_in_float32(Call(100, 100, 64, 64).tensors(torch.float32), variant)


@pytest.mark.parametrize("variant", ["lssa", "lssar:p=3", "lssar:p=15", "softplus"])
def test_in_float32_hold_where_every_score_is_far_below_zero(variant):
    """Scores reach −18 and their rounding error grows with them."""
    query, key, value = Call(200, 200, 64, 64).tensors(torch.float32)
    assert_close_in_float32((2 * query.abs(), -key.abs(), value), variant, steps=48)


def test_only_flow_where_they_are_asked_for():
    query, key, value = Call().tensors()
    attention(query, key.requires_grad_(), value, "lssar").sum().backward()
    assert key.grad is not None
    assert query.grad is None
    assert value.grad is None


@pytest.mark.parametrize("learned", ["head_scale", "distance_slope", "distance_bias"])
def test_flow_into_a_learned_number_alone_in_its_own_type(learned):
    call = Call(groups=2, head_scale=True, distance_slope=True, distance_bias=9)
    inputs, options = call.tensors(), call.options
    expected = dict(
        zip(
            ("head_scale", "distance_slope", "distance_bias"),
            gradients(staged.reference_attention, inputs, "lssar:p=3", options)[3:],
            strict=True,
        )
    )
    number = options[learned] = options[learned].float().requires_grad_()
    output = attention(*inputs, "lssar:p=3", **options)
    draw = torch.Generator().manual_seed(1)
    (output * torch.randn(output.shape, generator=draw, dtype=torch.float64)).sum().backward()
    assert number.grad.dtype == torch.float32
    torch.testing.assert_close(number.grad, expected[learned].float(), rtol=1e-4, atol=1e-5)


def test_of_gradients_are_refused():
    query, key, value = (x.requires_grad_() for x in Call().tensors())
    loss = attention(query, key, value, "lssar").square().sum()
    (grad,) = torch.autograd.grad(loss, query, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
