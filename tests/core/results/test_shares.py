"""Intervals of shares: Wilson's, inside 0 to 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from freeatten_core.basics.assets import assets
from freeatten_core.results.retrieval import accuracy_table
from freeatten_core.results.shares import wilson
from freeatten_core.results.stored import stored_results


@given(st.integers(1, 10_000), st.data())
def test_an_interval_is_that_of_wilson(asked, data):
    right = data.draw(st.integers(0, asked))
    low, high = wilson(right, asked)
    expected = stats.binomtest(right, asked).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= right / asked <= high <= 1


def test_all_right_is_not_certain():
    # by hand: 64 / (64 + 1.96²)
    assert wilson(64, 64) == pytest.approx((64 / (64 + 3.841459), 1.0), abs=1e-6)
    assert wilson(64, 64)[1] == 1


@pytest.mark.parametrize(("right", "asked"), [(0, 0), (3, 2), (-1, 2)])
def test_more_right_than_asked_is_a_mistake(right, asked):
    with pytest.raises(ValueError, match=f"{right} right answers of {asked}"):
        wilson(right, asked)


def test_no_stored_share_has_an_interval_beyond_all_or_nothing():
    folder = assets() / "results" / "retrieve"
    result = stored_results(folder)["recall"]
    pairs = [
        (share, *bounds)
        for row in result["variants"]
        for share, bounds in zip(row["accuracy"], row["accuracy_ci95"], strict=True)
    ]
    assert len(pairs) > 10
    assert all(0 <= low <= share <= high <= 1 and low < high for share, low, high in pairs)
    assert "±" not in accuracy_table(result)
