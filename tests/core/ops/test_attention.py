from unittest.mock import patch

import pytest
import torch
from adversarial import peaked
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    VARIANTS,
    Call,
    amplification,
    assert_within,
    called_variants,
    refused,
    stages,
)
from torch.profiler import ProfilerActivity, profile

from freeatten_core import Variant, attention, attention_weights, row_statistics
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.backends.panels import panel
from freeatten_core.ops.definitions import staged

LOW_PRECISION = (torch.bfloat16, torch.float16)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def expected_output(query, key, value, variant, options):
    """The reference in float64, whatever the type of the inputs."""
    return staged.reference_attention(
        query.double(), key.double(), value.double(), variant, **options
    )


def assert_matches_reference(call, variant, dtype=torch.float64, steps=50.0, seed=0):
    """The error of a row is at most `steps · ε · p · (1 + O/u_max)`, times the largest value."""
    query, key, value = call.tensors(dtype, seed)
    output = attention(query, key, value, variant, **call.options)
    assert output.shape == (call.batch, call.heads, call.query_length, call.value_dim)
    assert output.dtype == dtype
    bound = steps * torch.finfo(dtype).eps * value.abs().max().double()
    assert_within(
        output,
        expected_output(query, key, value, variant, call.options),
        bound * amplification(query, key, variant, call.options),
    )


@given(called_variants(), st.integers(1, 40), st.integers(1, 5000))
@example((Call(70, 3, window=2, groups=2), "lssar:p=64"), 1, 1)
def test_equals_the_reference_for_any_call_and_panel(called, rows, elements):
    call, variant = called
    with (
        patch.object(panel, "PANEL_ROWS", rows),
        patch.object(panel, "PANEL_ELEMENTS", elements),
    ):
        assert_matches_reference(call, variant, seed=rows)


@each_variant
def test_float32_error_grows_only_as_the_mathematics_says(variant):
    for call in (Call(200, 200, 64, 64), Call(16, 1000, 64, 64)):
        assert_matches_reference(call, variant, torch.float32, steps=12.0)


@pytest.mark.parametrize("dtype", LOW_PRECISION, ids=str)
@each_variant
def test_low_precision_rounds_only_weights_and_output(variant, dtype):
    query, key, value = Call(200, 200, 64, 64).tensors(dtype)
    exact = expected_output(query, key, value, variant, {})
    output = attention(query, key, value, variant)
    assert output.dtype == dtype
    assert_within(output, exact, torch.finfo(dtype).eps * value.abs().max().double())


@each_variant
def test_hidden_keys_do_not_matter(variant):
    query, key, value = Call(30, 30).tensors()
    before = attention(query, key, value, variant, window=8)
    for x in (key, value):
        x[:, :, 20:] += 5
        x[:, :, :3] -= 7
    after = attention(query, key, value, variant, window=8)
    torch.testing.assert_close(after[:, :, 10:20], before[:, :, 10:20], rtol=1e-9, atol=1e-9)


@each_variant
def test_is_causal_by_default(variant):
    inputs = Call(9, 9).tensors()
    assert torch.equal(attention(*inputs, variant), attention(*inputs, variant, is_causal=True))
    if stages(variant).needs_order:
        with refused(UsageError, [variant, "needs is_causal=True", "back from a row's own key"]):
            attention(*inputs, variant, is_causal=False)
        return
    assert not torch.equal(
        attention(*inputs, variant), attention(*inputs, variant, is_causal=False)
    )


def test_softmax_is_the_default_and_agrees_with_torch():
    query, key, value = Call(40, 40).tensors()
    peer = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(attention(query, key, value), peer)


@each_variant
def test_a_variant_can_be_given_by_name_or_value(variant):
    inputs = Call().tensors()
    by_value = attention(*inputs, Variant.parse(variant))
    assert torch.equal(attention(*inputs, variant), by_value)


def test_inputs_are_left_as_they_were():
    inputs = Call().tensors()
    before = [x.clone() for x in inputs]
    attention(*inputs, "lssar")
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


def test_a_window_wider_than_any_text_hides_nothing():
    query, key, value = Call().tensors()
    assert torch.equal(
        attention(query, key, value, window=10**30), attention(query, key, value, window=20)
    )


# Rows that break a naive implementation


def assert_sound(query, key, value, variant, dtype=torch.float32):
    """Output and gradients are finite, and rows of `l1` variants sum to 1."""
    inputs = [x.to(dtype).requires_grad_() for x in (query, key, value)]
    output = attention(*inputs, variant)
    assert output.isfinite().all()
    for grad in torch.autograd.grad(output.sum(), inputs):
        assert grad.isfinite().all()
    if stages(variant).sums_to_one:
        sums = row_statistics(*inputs[:2], variant).row_sum.double()
        assert_within(sums, torch.ones_like(sums), 2 * torch.finfo(dtype).eps + 1e-5)


@pytest.mark.parametrize("variant", ["lssar:p=15", "lssar:p=64", "softmax-ls-r:p=15"])
def test_a_peaked_row_of_16384_tokens_does_not_overflow(variant):
    query, key, value = peaked(16384)
    query = query[:, :, -8:]
    assert_sound(query, key, value, variant)
    last = attention(query, key, value, variant)[:, :, -1]
    torch.testing.assert_close(last, value[:, :, 8192])


@pytest.mark.slow
def test_a_whole_sequence_of_16384_tokens_with_a_peaked_row_stays_finite():
    """At length what a last row of as many, and whole sequences of 128 tokens, show in short."""
    inputs = [x.requires_grad_() for x in peaked(16384)]
    output = attention(*inputs, "lssar:p=15")
    torch.testing.assert_close(output[:, :, -1], inputs[2][:, :, 8192])
    for x in (output, *torch.autograd.grad(output.sum(), inputs)):
        assert x.isfinite().all()


# Memory


def peak_bytes(function):
    """The largest total of what `function` holds at one time, its result included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        function()
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = torch.tensor([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(held.cumsum(0).max())


@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15"])
def test_memory_stays_below_four_panels_forward_and_backward(variant):
    heads, length = 2, 4096
    inputs = Call(length, length, 64, 64, batch=1, heads=heads).tensors(torch.float32)
    inputs = [x.requires_grad_() for x in inputs]
    four_panels = 4 * heads * 128 * length * 4
    outputs = []
    forward = peak_bytes(lambda: outputs.append(attention(*inputs, variant)))
    upstream = torch.ones_like(outputs[0])
    backward = peak_bytes(lambda: torch.autograd.grad(outputs[0], inputs, upstream))
    assert forward < four_panels
    grads = sum(x.nbytes for x in inputs)
    assert backward - grads < four_panels


def test_statistics_and_regions_stay_below_four_panels():
    length = 4096
    query, key, _ = Call(length, length, 64, 64, batch=1).tensors(torch.float32)
    four_panels = 4 * 2 * 128 * length * 4
    region = {"rows": slice(4000, 4064), "cols": slice(100, 164)}
    assert peak_bytes(lambda: row_statistics(query, key, "lssar")) < four_panels
    assert peak_bytes(lambda: attention_weights(query, key, "lssar", **region)) < four_panels


@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15"])
def test_one_query_copies_no_key_of_its_cache(variant):
    query, key, value = Call(1, 4096, 64, 64, batch=1).tensors(torch.float32)
    key[:, :, 7] = 0  # it has no direction
    found = []
    assert peak_bytes(lambda: found.append(attention(query, key, value, variant))) < key.nbytes / 4
    exact = staged.reference_attention(query.double(), key.double(), value.double(), variant)
    assert_within(found[0], exact, 1e-5)


def test_the_measure_of_memory_sees_a_dense_matrix():
    length = 1024
    inputs = Call(length, length, batch=1).tensors(torch.float32)
    assert (
        peak_bytes(lambda: staged.reference_attention(*inputs, "softmax")) > 2 * length * length * 4
    )
