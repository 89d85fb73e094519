"""Intervals of shares: Wilson's, inside 0 to 1, also of results stored before."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_retrieval import copy_result, recall_result
from scipy import stats

from freeatten_core.basics.assets import assets
from freeatten_core.results.retrieval import accuracy_table
from freeatten_core.results.shares import wilson, with_wilson
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


def test_stored_intervals_are_made_anew_from_the_share_and_the_questions():
    old = recall_result() | {"schema": 1, "samples": 4}
    old["variants"][0] |= {
        "accuracy": [1.0, 0.984375, None, 0.0],
        "accuracy_ci95": [[1.0, 1.0], [0.95, 1.08], [None, None], [0.0, 0.0]],
    }
    wanted = [[*wilson(64, 64)], [*wilson(63, 64)], [None, None], [*wilson(0, 64)]]
    assert with_wilson(old)["variants"][0]["accuracy_ci95"] == wanted
    assert old["variants"][0]["accuracy_ci95"][1] == [0.95, 1.08]  # the result is left as it was


@pytest.mark.parametrize("result", [copy_result(), recall_result() | {"schema": 2}])
def test_other_results_are_as_they_were(result):
    assert with_wilson(result) == result


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
    stored = json.loads((folder / "recall.json").read_text(encoding="utf-8"))
    assert [row["accuracy"] for row in stored["variants"]] == [
        row["accuracy"] for row in result["variants"]
    ]
