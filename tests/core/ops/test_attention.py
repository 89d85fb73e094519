from unittest.mock import patch

import pytest
import torch
from adversarial import ADVERSARIAL, away, peaked
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


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("rows", [1, 17])
@each_variant
def test_a_block_of_queries_against_a_cache_is_the_tail_of_the_sequence(variant, rows):
    query, key, value = Call(50, 50).tensors()
    whole = attention(query, key, value, variant)
    block = attention(query[:, :, -rows:], key, value, variant)
    torch.testing.assert_close(block, whole[:, :, -rows:], rtol=1e-9, atol=1e-9)


@each_variant
def test_hidden_keys_do_not_matter(variant):
    query, key, value = Call(30, 30).tensors()
    before = attention(query, key, value, variant, window=8)
    for x in (key, value):
        x[:, :, 20:] += 5
        x[:, :, :3] -= 7
    after = attention(query, key, value, variant, window=8)
    torch.testing.assert_close(after[:, :, 10:20], before[:, :, 10:20], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("call", [Call(30, 30), Call(9, 31, heads=6, groups=3)])
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=3", "sigmoid"])
def test_strided_inputs_equal_contiguous_ones(variant, call):
    plain = [x.requires_grad_() for x in call.tensors()]
    by_token = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in plain]
    reversed_axes = [x.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0) for x in plain]
    every_other = [x.detach().repeat_interleave(2, dim=2)[:, :, ::2] for x in plain]
    output = attention(*plain, variant, **call.masking)
    weight = torch.randn_like(output)
    grads = torch.autograd.grad((output * weight).sum(), plain)
    for strided in (by_token, reversed_axes, every_other):
        assert not strided[0].is_contiguous()
        again = attention(*[x.requires_grad_() for x in strided], variant, **call.masking)
        torch.testing.assert_close(again, output, rtol=1e-10, atol=1e-10)
        grads_again = torch.autograd.grad((again * weight).sum(), strided)
        torch.testing.assert_close(grads_again, grads, rtol=1e-8, atol=1e-8)


def test_one_key_shared_without_memory_of_its_own():
    query, key, value = Call(6, 6).tensors()
    key, value = (x[:, :1, :1].expand(-1, 2, 6, -1) for x in (key, value))
    torch.testing.assert_close(attention(query, key, value, "lssar"), value)


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


@pytest.mark.parametrize("dtype", [torch.float32, *LOW_PRECISION], ids=str)
@pytest.mark.parametrize("case", ADVERSARIAL)
@each_variant
def test_nothing_is_lost_or_non_finite_on_adversarial_rows(variant, case, dtype):
    assert_sound(*ADVERSARIAL[case](), variant, dtype)


@pytest.mark.parametrize("variant", ["lssar:p=15", "lssar:p=64", "softmax-ls-r:p=15"])
def test_a_peaked_row_of_16384_tokens_does_not_overflow(variant):
    query, key, value = peaked(16384)
    query = query[:, :, -8:]
    assert_sound(query, key, value, variant)
    last = attention(query, key, value, variant)[:, :, -1]
    torch.testing.assert_close(last, value[:, :, 8192])


def test_a_whole_sequence_of_16384_tokens_with_a_peaked_row_stays_finite():
    inputs = [x.requires_grad_() for x in peaked(16384)]
    output = attention(*inputs, "lssar:p=15")
    torch.testing.assert_close(output[:, :, -1], inputs[2][:, :, 8192])
    for x in (output, *torch.autograd.grad(output.sum(), inputs)):
        assert x.isfinite().all()


@pytest.mark.parametrize("variant", ["lssa", "lssar:p=1", "softplus", "softmax-ls"])
def test_keys_that_all_point_away_share_the_row_equally(variant):
    query, key, value = away(1024)
    mean = value.double().cumsum(2) / torch.arange(1, 1025)[:, None]
    assert_within(attention(query, key, value, variant), mean, 1e-5)


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


def test_the_measure_of_memory_sees_a_dense_matrix():
    length = 1024
    inputs = Call(length, length, batch=1).tensors(torch.float32)
    assert (
        peak_bytes(lambda: staged.reference_attention(*inputs, "softmax")) > 2 * length * length * 4
    )


# Errors


def of(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


ERRORS = {
    "rank": ({"query": of(6, 8)}, ValueError, ["query", "(6, 8)", "4 dimensions"]),
    "rank of value": ({"value": of(2, 6, 8)}, ValueError, ["value", "(2, 6, 8)", "4 dimensions"]),
    "not a tensor": ({"key": [1.0]}, TypeError, ["key", "list", "tensor"]),
    "whole numbers": (
        {"query": of(2, 4, 6, 8, dtype=torch.int64)},
        TypeError,
        ["query", "torch.int64", "float16, bfloat16, float32 or float64"],
    ),
    "mixed types": (
        {"value": of(2, 4, 6, 8, dtype=torch.float64)},
        TypeError,
        ["value", "torch.float64", "query", "torch.float32"],
    ),
    "device": (
        {"key": of(2, 4, 6, 8).to("meta")},
        ValueError,
        ["key is on meta", "query on cpu"],
    ),
    "batch": ({"key": of(3, 4, 6, 8)}, ValueError, ["key", "batch 3", "query has 2"]),
    "batch of value": ({"value": of(1, 4, 6, 8)}, ValueError, ["value", "batch 1", "query has 2"]),
    "heads": (
        {"key": of(2, 2, 6, 8), "value": of(2, 2, 6, 8)},
        ValueError,
        ["key has 2 heads", "query 4", "enable_gqa=True"],
    ),
    "groups": (
        {"key": of(2, 3, 6, 8), "value": of(2, 3, 6, 8), "enable_gqa": True},
        ValueError,
        ["key has 3 heads", "query 4", "divisor"],
    ),
    "more key heads": (
        {"key": of(2, 8, 6, 8), "value": of(2, 8, 6, 8), "enable_gqa": True},
        ValueError,
        ["key has 8 heads", "query 4", "divisor"],
    ),
    "value heads": ({"value": of(2, 2, 6, 8)}, ValueError, ["value", "(2, 6)", "key has (4, 6)"]),
    "lengths": ({"value": of(2, 4, 5, 8)}, ValueError, ["value", "(4, 5)", "key has (4, 6)"]),
    "head size": ({"key": of(2, 4, 6, 7)}, ValueError, ["key", "head size 7", "query has 8"]),
    "no tokens": ({"query": of(2, 4, 0, 8)}, ValueError, ["query", "(2, 4, 0, 8)", "at least 1"]),
    "no batch": ({"query": of(0, 4, 6, 8)}, ValueError, ["query", "(0, 4, 6, 8)", "at least 1"]),
    "no value": ({"value": of(2, 4, 6, 0)}, ValueError, ["value", "(2, 4, 6, 0)", "at least 1"]),
    "window 0": ({"window": 0}, ValueError, ["window is 0", "at least 1"]),
    "window -1": ({"window": -1}, ValueError, ["window is -1", "at least 1"]),
    "window 2.5": ({"window": 2.5}, TypeError, ["window", "2.5", "whole number"]),
    "window, not causal": (
        {"window": 3, "is_causal": False},
        ValueError,
        ["window is 3", "is_causal=True"],
    ),
    "slope, not causal": (
        {"distance_slope": of(4), "is_causal": False},
        ValueError,
        ["distance_slope", "is_causal=True"],
    ),
    "shape of head_scale": ({"head_scale": of(3)}, ValueError, ["head_scale", "(3,)", "(4,)"]),
    "rank of head_scale": ({"head_scale": of(1, 4)}, ValueError, ["head_scale", "(1, 4)", "(4,)"]),
    "shape of distance_slope": (
        {"distance_slope": of(2)},
        ValueError,
        ["distance_slope", "(2,)", "(4,)"],
    ),
    "head_scale is a number": ({"head_scale": 2.0}, TypeError, ["head_scale", "float", "tensor"]),
    "device of head_scale": (
        {"head_scale": of(4).to("meta")},
        ValueError,
        ["head_scale is on meta", "query on cpu"],
    ),
    "type of head_scale": (
        {"head_scale": of(4, dtype=torch.int64)},
        TypeError,
        ["head_scale", "torch.int64", "floating-point"],
    ),
    "shape of distance_bias": (
        {"distance_bias": of(3, 9)},
        ValueError,
        ["distance_bias", "(3, 9)", "(4, T)"],
    ),
    "rank of distance_bias": (
        {"distance_bias": of(4)},
        ValueError,
        ["distance_bias", "(4,)", "(4, T)", "a row a head"],
    ),
    "no distance": ({"distance_bias": of(4, 0)}, ValueError, ["(4, 0)", "T at least 1"]),
    "bias, not causal": (
        {"distance_bias": of(4, 2), "is_causal": False},
        ValueError,
        ["distance_bias", "is_causal=True"],
    ),
    "distance_bias is a list": (
        {"distance_bias": [[1.0]]},
        TypeError,
        ["distance_bias", "list", "tensor", "(4, T)"],
    ),
    "device of distance_bias": (
        {"distance_bias": of(4, 2).to("meta")},
        ValueError,
        ["distance_bias is on meta", "query on cpu"],
    ),
    "unknown variant": ({"variant": "lsar"}, UsageError, ["'lsar'", "did you mean 'lssar'"]),
    "power": ({"variant": "lssar:p=65"}, UsageError, ["p is '65'", "from 1 to 64"]),
    "word for a flag": ({"is_causal": "no"}, UsageError, ["is_causal is 'no'", "True or False"]),
    "number for a flag": ({"enable_gqa": 2}, UsageError, ["enable_gqa is 2", "True or False"]),
    "sparse": (
        {"key": of(2, 4, 6, 8).to_sparse()},
        TypeError,
        ["key is torch.sparse_coo", "dense"],
    ),
    "variant is a number": ({"variant": 3}, TypeError, ["variant", "int", "name"]),
    "modifier": ({"variant": "lssar+yarn"}, ValueError, ["lssar:p=15+yarn", "pass lssar:p=15"]),
}


def test_a_window_wider_than_any_text_hides_nothing():
    query, key, value = Call().tensors()
    assert torch.equal(
        attention(query, key, value, window=10**30), attention(query, key, value, window=20)
    )


@pytest.mark.parametrize(("change", "error", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_names_the_argument_its_value_and_what_is_legal(change, error, words):
    arguments = {name: of(2, 4, 6, 8) for name in ("query", "key", "value")}
    with refused(error, words):
        attention(**(arguments | change))


@pytest.mark.parametrize("function", [attention_weights, row_statistics])
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ERRORS[name]
        for name in (
            "rank",
            "whole numbers",
            "head size",
            "heads",
            "modifier",
            "window 0",
            "shape of head_scale",
            "shape of distance_slope",
            "bias, not causal",
        )
    ],
)
def test_weights_and_statistics_check_their_arguments_too(function, change, error, words):
    arguments = {"query": of(2, 4, 6, 8), "key": of(2, 4, 6, 8)} | change
    arguments.pop("value", None)
    with refused(error, words):
        function(**arguments)
