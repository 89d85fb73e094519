"""Formulas as written, and their safe forms: where they leave the range of a type, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Call

from freeatten_core import Variant
from freeatten_core.ops.definitions import as_written, staged

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32

FORMS = (as_written.attention_as_written, staged.reference_attention)


def first_weight(scores, variant, dtype, attend=as_written.attention_as_written, *, gradient=False):
    """The weight of the first of some keys whose scores are given, in one row that sees all.

    Heads are one wide, so that the score of a dot product is the key itself.
    """
    query = torch.ones(1, 1, 1, 1, dtype=dtype, requires_grad=gradient)
    key = torch.tensor(scores, dtype=dtype).view(1, 1, -1, 1)
    value = torch.zeros_like(key)
    value[:, :, 0] = 1
    weight = attend(query, key, value, Variant.parse(variant))
    if gradient:
        return float(torch.autograd.grad(weight.sum(), query)[0])
    return float(weight)


# exp: the largest float16 is 65504 = e^11.09, the largest bfloat16 and float32 e^88.7


@pytest.mark.parametrize(
    ("dtype", "fits", "overflows"),
    [(HALF, 11.0625, 11.125), (BRAIN, 88.5, 89.0), (SINGLE, 88.5, 89.0)],
)
@pytest.mark.parametrize("variant", ["softmax", "softplus"])
def test_the_exponential_overflows_where_the_type_ends(variant, dtype, fits, overflows):
    assert first_weight([fits, 0.0], variant, dtype) == pytest.approx(1, abs=0.07)
    assert math.isnan(first_weight([overflows, 0.0], variant, dtype))
    safe = first_weight([overflows, 0.0], variant, dtype, staged.reference_attention)
    assert safe == pytest.approx(1, abs=0.07)


def test_a_row_sum_overflows_before_its_terms_and_leaves_zeros():
    assert math.exp(11) < torch.finfo(HALF).max < 2 * math.exp(11)
    assert first_weight([11.0, 11.0], "softmax", HALF) == 0
    assert first_weight([11.0, 11.0], "softmax", HALF, staged.reference_attention) == 0.5


@given(st.lists(st.floats(-60_000, 60_000, width=16), min_size=1, max_size=30))
def test_with_its_maximum_subtracted_softmax_never_overflows(scores):
    weights = [
        first_weight(
            [score, *scores[:at], *scores[at + 1 :]], "softmax", HALF, staged.reference_attention
        )
        for at, score in enumerate(scores)
    ]
    assert all(math.isfinite(weight) for weight in weights)
    assert sum(weights) == pytest.approx(1, abs=2e-3)


def test_max_subtraction_does_not_help_a_score_that_overflows_itself():
    query = torch.full((1, 1, 1, 1), 300.0, dtype=HALF)
    key = torch.tensor([300.0, 1.0], dtype=HALF).view(1, 1, 2, 1)
    assert torch.finfo(HALF).max < 300 * 300
    assert not staged.reference_attention(query, key, key, "softmax").isfinite().any()


# softplus


def test_one_plus_a_small_exponential_is_one():
    # e^-8 = 3.4e-4 is less than half of the distance from 1 to the next float16, 9.8e-4
    assert math.isnan(first_weight([-8.0, -8.0], "softplus", HALF))
    assert first_weight([-8.0, -8.0], "softplus", HALF, staged.reference_attention) == 0.5
    assert first_weight([-7.0, -7.0], "softplus", HALF) == 0.5


def test_the_safe_softplus_divides_its_largest_out_before_it_sums():
    scores = [16_000.0] * 5  # their sum, 80,000, is beyond float16
    assert first_weight(scores, "softplus", HALF, staged.reference_attention) == pytest.approx(
        0.2, rel=1e-3
    )
    assert first_weight(scores, "softmax", HALF, staged.reference_attention) == pytest.approx(
        0.2, rel=1e-3
    )
    assert first_weight(scores, "softplus", BRAIN, staged.reference_attention) == pytest.approx(
        0.2, rel=1e-2
    )


# sigmoid


def test_a_sigmoid_as_written_is_finite_where_its_gradient_is_not():
    # of one key, log N = 0: the score is −12, and e^12 is beyond float16
    assert first_weight([-12.0], "sigmoid", HALF) == 0
    assert math.isnan(first_weight([-12.0], "sigmoid", HALF, gradient=True))
    safe = first_weight([-12.0], "sigmoid", HALF, staged.reference_attention)
    assert safe == pytest.approx(1 / (1 + math.exp(12)), rel=1e-2)
    assert math.isfinite(
        first_weight([-12.0], "sigmoid", HALF, staged.reference_attention, gradient=True)
    )


# re-weighting


def test_the_power_overflows_unless_divided_by_the_largest_first():
    scores = [10.0, 0.0, 0.0, 0.0]  # N·a = 4 on the first key, so u = 3
    assert 3**10 < torch.finfo(HALF).max < 3**11
    assert first_weight(scores, "softmax-r:p=10", HALF) == 1
    assert math.isnan(first_weight(scores, "softmax-r:p=11", HALF))
    assert first_weight(scores, "softmax-r:p=11", HALF, staged.reference_attention) == 1
    assert first_weight(scores, "softmax-r:p=11", BRAIN) == 1


def test_a_relu_has_nothing_to_guard():
    for form in FORMS:
        assert first_weight([6.0, -3.0], "relu", HALF, form) == 3


def test_scores_are_those_of_the_reference():
    query, key, _ = Call(3, 9, 8, 8).tensors(torch.float64)
    for name in ("lssar:p=15", "sigmoid"):
        score, visible = as_written.scores(query, key, Variant.parse(name))
        wanted = staged.stages(query, key, name)
        torch.testing.assert_close(score, wanted.score, rtol=0, atol=0)
        assert torch.equal(visible, wanted.visible)
