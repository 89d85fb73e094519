"""What a forget gate leaves of a pair: `exp(c_i − c_j)` of its positivity, before the row's sum."""

from dataclasses import fields

import pytest
import torch
from battery import DEVICE, fused, outcome
from strategies import L1_VARIANTS, Call, amplification, assert_within, dense, refused

from freeatten_core import attention, attention_weights, row_statistics
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.ops.definitions import staged

FAMILIES = ("softmax", "softmax-r:p=3", "lssa", "lssar:p=15", "softplus-r:p=3",
            "stages:score=dot:positivity=sigmoid:normalise=l1",
            "stages:score=dot:positivity=relu:normalise=l1:p=2")  # fmt: skip
each_l1_variant = pytest.mark.parametrize("variant", [*L1_VARIANTS, *FAMILIES[-2:]])
CALLS = {
    "one token": Call(1, 1, decay=1.0),
    "63 tokens": Call(63, 63, dim=10, decay=8.0),
    "a sum of 500": Call(63, 63, decay=500.0),
    "longer cache": Call(9, 31, decay=8.0),
    "more queries than keys": Call(31, 9, decay=8.0),
    "everything": Call(
        45, 63, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=7, window=30,
        decay=20.0,
    ),
}  # fmt: skip
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_a_softmax_forgets_in_its_exponent():
    """arXiv 2503.02130, eq. 3, with two keys: log-gates of −1 and −3 at the second and third."""
    query, key = torch.zeros(1, 1, 3, 4).double(), torch.zeros(1, 1, 3, 4).double()
    decay = torch.tensor([[[-0.5, -1.5, -4.5]]]).double()
    weights = attention_weights(query, key, "softmax", decay=decay)[0, 0]
    kept = torch.tensor([-4.0, -3.0, 0.0]).double().exp()
    torch.testing.assert_close(weights[2], kept / kept.sum())


def test_a_softplus_is_multiplied():
    query, key = torch.zeros(1, 1, 3, 4).double(), torch.zeros(1, 1, 3, 4).double()
    decay = torch.tensor([[[0.0, -1.0, -3.0]]]).double()
    weights = attention_weights(query, key, "softplus", decay=decay)[0, 0]
    kept = torch.tensor([-3.0, -2.0, 0.0]).double().exp()  # every softplus(0) is log 2
    torch.testing.assert_close(weights[2], kept / kept.sum())


@each_call
@each_l1_variant
def test_values_and_gradients_are_those_of_float64(variant, call):
    inputs, options = call.tensors(), call.options
    amplified = amplification(*inputs[:2], variant, options)
    wanted = outcome(staged.reference_attention, inputs, variant, options)
    output, *gradients = outcome(attention, inputs, variant, options)
    step = 50 * torch.finfo(torch.float64).eps * inputs[2].abs().max()
    assert_within(output, wanted[0], step * amplified)
    for found, one in zip(gradients, wanted[1:], strict=True):
        assert_within(found, one, 1e-11 * one.abs().max().clamp(min=1))


@pytest.mark.parametrize("variant", FAMILIES)
def test_a_flat_sum_forgets_nothing(variant):
    query, key, value = Call(20, 20).tensors()
    flat = torch.full((2, 2, 20), -300.0).double()
    torch.testing.assert_close(
        attention(query, key, value, variant, decay=flat), attention(query, key, value, variant)
    )


@pytest.mark.parametrize("variant", FAMILIES)
def test_what_is_common_to_a_row_leaves_it_as_it_is(variant):
    call = Call(20, 20, decay=6.0)
    query, key, value = call.tensors()
    decay = call.options["decay"]
    torch.testing.assert_close(
        attention(query, key, value, variant, decay=decay - 250),
        attention(query, key, value, variant, decay=decay),
    )


@pytest.mark.usefixtures("small_panels")
@each_call
@pytest.mark.parametrize("variant", FAMILIES)
def test_regions_and_statistics_are_those_of_the_dense_weights(variant, call):
    query, key, _ = call.tensors()
    result = dense(query, key, variant, call.options)
    weights = attention_weights(query, key, variant, **call.options)
    torch.testing.assert_close(weights, result.weights, rtol=1e-8, atol=1e-10)
    last = slice(call.query_length - 1, call.query_length)
    part = attention_weights(query, key, variant, **call.options, rows=last)
    torch.testing.assert_close(part, result.weights[:, :, last], rtol=1e-8, atol=1e-10)
    rows = row_statistics(query, key, variant, **call.options)
    for field in fields(rows):
        assert getattr(rows, field.name).isfinite().all()
    seen = slice(max(0, call.query_length - call.key_length), None)
    torch.testing.assert_close(rows.largest, weights.amax(-1))
    mass = weights.sum(-1, keepdim=True)
    share = weights / torch.where(mass == 0, 1.0, mass)
    entropy = -(share * share.clamp(min=1e-300).log()).sum(-1)
    torch.testing.assert_close(rows.entropy[..., seen], entropy[..., seen])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("variant", FAMILIES[:5])
def test_a_sum_of_500_is_as_good_in_low_precision_as_eager(variant, dtype):
    """The sum is float32: bfloat16 would have it in steps of two."""
    call = Call(200, 200, 64, 64, decay=500.0)
    inputs, decay = call.tensors(dtype), call.options["decay"].float()
    wide = [x.double() for x in inputs]
    exact = staged.reference_attention(*wide, variant, decay=decay.double())
    output = attention(*inputs, variant, decay=decay)
    assert_within(output, exact, 3 * torch.finfo(dtype).eps * wide[2].abs().max())


@pytest.mark.usefixtures("small_tiles", "quiet_numpy")
@pytest.mark.parametrize("attend", [attention, fused], ids=["panels", "fused"])
@pytest.mark.parametrize("variant", ["softplus", "softplus-r:p=3", FAMILIES[5]])
def test_a_row_whose_weights_all_vanish_is_zero_and_has_a_gradient(variant, attend):
    """Own scores of −60 to −120 and gates that leave nothing else: such a row has taught a gated
    softplus NaN, at 8,192 tokens and at a high rate."""
    device = DEVICE if attend is fused else "cpu"
    ramp = torch.linspace(7.75, 11, 24, device=device)[:, None].repeat(1, 4)
    query, key = 0.5 * ramp[None, None], -2 * ramp[None, None] / 2
    value = torch.arange(24.0, device=device).view(1, 1, 24, 1)
    decay = -300.0 * torch.arange(24.0, device=device).view(1, 1, 24)
    output, *gradients = outcome(attend, (query, key, value), variant, {"decay": decay})
    own = torch.nn.functional.softplus((query * key).sum(-1).double() / 2)[..., None]
    assert (own > 2.0**-90).any()
    assert (own < 2.0**-110).any()
    kept = own > 2.0**-90
    torch.testing.assert_close(output[kept], value[kept])
    assert output[own < 2.0**-110].abs().max() < 1e-30
    assert all(each.isfinite().all() for each in gradients)


REFUSED = {
    "not a tensor": ({"decay": 2.0}, TypeError, ["decay is a float", "(2, 2, 20)"]),
    "shape": ({"decay": torch.zeros(2, 20)}, ValueError, ["(2, 20)", "(2, 2, 20)", "head and key"]),
    "type": ({"decay": torch.zeros(2, 2, 20).int()}, TypeError, ["torch.int32", "floating-point"]),
    "not causal": ({"decay": torch.zeros(2, 2, 20), "is_causal": False}, ValueError, ["is_causal"]),
}


@pytest.mark.parametrize(("options", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_running_sum_is_refused(options, error, words):
    with refused(error, words):
        attention(*Call().tensors(), "softmax", **options)


@pytest.mark.parametrize("variant", ["sigmoid", "relu", "lssa-count"])
def test_rows_that_are_not_divided_by_their_sum_forget_nothing(variant):
    with refused(ValueError, ["decay", "l1", variant]):
        attention(*Call().tensors(), variant, decay=torch.zeros(2, 2, 20))


def test_terms_of_one_head_and_of_some_keys_are_cut():
    terms = ScoreTerms(distance_slope=torch.arange(3.0), decay=torch.arange(24.0).view(1, 3, 8))
    alone = terms.of_head(1).of_keys(2, 5)
    assert alone.distance_slope.tolist() == [1.0]
    assert alone.decay.tolist() == [[[10.0, 11.0, 12.0]]]
