"""The knee: where the loss against position stops falling, by its stated rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from freeatten_core.results.knee import knee_entry, knee_text, stretches

POSITIONS = [16 * step for step in range(1, 65)]  # of 1,024
EDGES = [16, 32, 64, 128, 256, 512, 1024]


def losses(*by_stretch):
    """One text's losses by position, constant within each stretch."""
    ends = stretches(64)
    parts = zip([0, *ends], ends, by_stretch, strict=False)
    return np.concatenate([np.full(end - before, value) for before, end, value in parts])


def test_stretches_are_the_first_bin_and_doublings():
    assert [POSITIONS[end - 1] for end in stretches(64)] == EDGES
    assert stretches(1) == [1]
    assert stretches(4) == [1, 2, 4]


@pytest.mark.parametrize(
    ("by_stretch", "knee"),
    [
        ((6, 5, 4, 3.5, 3.3, 3.2, 3.1), 1024),  # falls to the end
        ((6, 5, 4, 3.5, 3.5, 3.5, 3.5), 128),  # level from there on
        ((6, 5, 4, 3.5, 5.0, 6.0, 6.0), 128),  # breaks
        ((6, 5, 4, 3.5, 4.0, 3.4, 3.4), 512),  # recovers and goes lower
        ((6, 5, 4, 3.5, 3.49, 3.485, 3.481), 128),  # falls by less than 0.02
        ((6, 5, 4, 3.5, 3.49, 3.485, 3.479), 256),  # by a little more
        ((3, 3, 3, 3, 3, 3, 3), 16),
    ],
)
def test_the_knee_is_where_no_later_stretch_lies_lower(by_stretch, knee):
    found = knee_entry(POSITIONS, losses(*by_stretch)[None])
    assert found == {"knee": knee, "knee_ci95": [None, None]}


@given(arrays(np.float64, (3, 64), elements=st.floats(0, 10)))
def test_an_interval_holds_edges_in_order(by_text):
    found = knee_entry(POSITIONS, by_text)
    low, high = found["knee_ci95"]
    assert {found["knee"], low, high} <= set(EDGES)
    assert low <= high
    assert found == knee_entry(POSITIONS, by_text)  # no luck in it


def test_texts_that_agree_give_no_spread_and_others_do():
    early, late = losses(6, 5, 3, 3, 3, 3, 3), losses(6, 5, 4, 3.5, 3, 3, 2.5)
    assert knee_entry(POSITIONS, np.stack([early] * 5))["knee_ci95"] == [64, 64]
    low, high = knee_entry(POSITIONS, np.stack([early, late] * 2))["knee_ci95"]
    assert (low, high) == (64, 1024)


def test_a_loss_that_is_not_finite_has_no_knee():
    bad = losses(6, 5, 4, 3, 3, 3, np.inf)[None]
    assert knee_entry(POSITIONS, bad) == {"knee": None, "knee_ci95": [None, None]}


def test_words_have_the_interval_where_there_is_one():
    result = {"positions": POSITIONS}
    row = {"knee": 512, "knee_ci95": [256, 1024]}
    assert knee_text(result, row) == "512 (256–1,024)"
    assert knee_text(result, {"knee": None, "knee_ci95": [None, None]}) == "–"
    stored = {"loss_by_position": losses(6, 5, 4, 3, 3, 3, 3).tolist()}
    assert knee_text(result, stored) == "128"
    assert knee_text(result, {"loss_by_position": [None] * 64}) == "–"
