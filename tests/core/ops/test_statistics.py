from dataclasses import fields
from unittest.mock import patch

import numpy as np
import pytest
import torch
from adversarial import ADVERSARIAL
from hypothesis import given
from hypothesis import strategies as st
from refusals import OF_QUERY_AND_KEY, of
from strategies import L1_VARIANTS, VARIANTS, Call, dense, refused

from freeatten_core import attention_weights, row_statistics
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.backends.panels import panel
from freeatten_core.ops.row_statistics import RowStatistics

each_variant = pytest.mark.parametrize("variant", VARIANTS)
FIELDS = [field.name for field in fields(RowStatistics)]


@each_variant
def test_are_zero_on_rows_that_see_no_key(variant):
    query, key, _ = Call(9, 4).tensors()
    rows = row_statistics(query, key, variant)
    for field in ("entropy", "largest", "first", "sum_squares", "row_sum"):
        assert (getattr(rows, field)[..., :5] == 0).all(), field


@each_variant
def test_of_a_row_with_one_key(variant):
    query, key, _ = Call(1, 1).tensors()
    rows = row_statistics(query, key, variant)
    assert (rows.mean_distance == 0).all()
    assert (rows.first == rows.largest).all()
    assert rows.entropy.abs().max() < 1e-12


@pytest.mark.parametrize("variant", L1_VARIANTS)
def test_of_a_uniform_row(variant):
    query, key, _ = Call(32, 32).tensors(torch.float32)
    rows = row_statistics(torch.zeros_like(query), key, variant)
    count = torch.arange(1.0, 33.0).expand(2, 2, -1)
    torch.testing.assert_close(rows.entropy, count.log())
    torch.testing.assert_close(rows.sum_squares, 1 / count)
    torch.testing.assert_close(rows.mean_distance, (count - 1) / 2)
    assert (rows.zeros == 0).all()
    assert (rows.offset == 0).all()


def test_exact_zeros_do_not_count_powers_that_underflow():
    """ "Exactly zero" is `u <= 0`: it depends on the scores and not on `p`."""
    query, key, _ = Call(1, 400, dim=64).tensors(torch.float32)
    low, high = (row_statistics(query, key, f"lssar:p={p}").zeros for p in (1, 64))
    assert torch.equal(low, high)
    assert 0.3 < low.mean() < 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@each_variant
def test_are_float32_below_float64(variant, dtype):
    query, key, _ = Call().tensors(dtype)
    rows = row_statistics(query, key, variant)
    assert {getattr(rows, field).dtype for field in FIELDS} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_row_sum_shows_the_rounding_of_the_weights(dtype):
    query, key, _ = Call(200, 200).tensors(dtype)
    error = (row_statistics(query, key, "lssar").row_sum - 1).abs().max()
    assert 0 < error <= torch.finfo(dtype).eps


@st.composite
def regions(draw):
    """A call and a region of its matrix."""
    is_causal = draw(st.booleans())
    call = Call(
        query_length=draw(st.integers(1, 50)),
        key_length=draw(st.integers(1, 50)),
        heads=2,
        groups=draw(st.integers(1, 2)),
        is_causal=is_causal,
        window=draw(st.none() | st.integers(1, 60)) if is_causal else None,
        head_scale=draw(st.booleans()),
        distance_slope=is_causal and draw(st.booleans()),
        distance_bias=draw(st.integers(0, 60)) if is_causal else 0,
    )

    def span(length):
        start = draw(st.integers(0, length - 1))
        return slice(start, draw(st.integers(start + 1, length)))

    return call, span(call.query_length), span(call.key_length)


@given(regions(), st.sampled_from(VARIANTS), st.integers(1, 40), st.integers(1, 3000))
def test_weights_of_a_region_equal_the_dense_slice(region, variant, panel_rows, elements):
    call, rows, cols = region
    call = call.for_variant(variant)
    query, key, _ = call.tensors()
    with (
        patch.object(panel, "PANEL_ROWS", panel_rows),
        patch.object(panel, "PANEL_ELEMENTS", elements),
    ):
        actual = attention_weights(query, key, variant, rows=rows, cols=cols, **call.options)
    expected = dense(query, key, variant, call.options).weights[..., rows, cols]
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_weights_are_float32_below_float64(dtype):
    query, key, _ = Call(60, 60).tensors(dtype)
    weights = attention_weights(query, key, "lssar", rows=slice(20, 30))
    assert weights.dtype == torch.float32
    expected = dense(query, key, "lssar", {}).weights[:, :, 20:30]
    torch.testing.assert_close(weights.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (slice(3, 3), "3:3"),
        (slice(5, 2), "5:2"),
        (slice(0, 99), "0:99"),
        (slice(-4, None), "-4:20"),
        (slice(0, 8, 2), "0:8:2"),
        (slice(8, 0, -1), "8:0:-1"),
    ],
)
def test_a_region_that_is_not_one_is_refused(name, wanted, shown):
    query, key, _ = Call(20, 20).tensors()
    with refused(ValueError, [f"{name} is {shown};", "0 <= start < stop <= 20"]):
        attention_weights(query, key, **{name: wanted})


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize("wanted", [3, (0, 4), None])
def test_a_region_is_given_by_slices(name, wanted):
    query, key, _ = Call(20, 20).tensors()
    with refused(TypeError, [name, str(wanted), "slice"]):
        attention_weights(query, key, **{name: wanted})


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize("wanted", [slice(0.0, 3.0), slice(True, 3), slice("a", "b")], ids=str)
def test_a_region_is_given_in_whole_numbers(name, wanted):
    query, key, _ = Call(20, 20).tensors()
    with refused(UsageError, [f"{name} is {wanted.start}:{wanted.stop};", "in whole numbers"]):
        attention_weights(query, key, **{name: wanted})


def test_a_region_is_given_in_whole_numbers_of_any_type():
    query, key, _ = Call(20, 20).tensors()
    part = attention_weights(query, key, rows=slice(np.int64(3), torch.tensor(5)))
    assert torch.equal(part, attention_weights(query, key, rows=slice(3, 5)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("variant", L1_VARIANTS)
def test_rows_that_break_a_naive_implementation_sum_to_one(variant, dtype):
    for case, made in ADVERSARIAL.items():
        query, key, _ = (x[:, :1].to(dtype) for x in made())
        off = (row_statistics(query, key, variant).row_sum - 1).abs().max()
        assert off <= 2 * torch.finfo(dtype).eps + 1e-5, case


@pytest.mark.parametrize(
    ("change", "error", "words"), OF_QUERY_AND_KEY.values(), ids=OF_QUERY_AND_KEY.keys()
)
def test_an_error_names_the_argument_its_value_and_what_is_legal(change, error, words):
    arguments = {"query": of(2, 4, 6, 8), "key": of(2, 4, 6, 8)}
    with refused(error, words):
        row_statistics(**arguments | change)
