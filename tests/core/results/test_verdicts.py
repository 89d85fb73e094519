"""What Δ, S and W say together: no verdict is earned by a window."""

import json
import math

import pytest

from freeatten_core.basics.assets import assets
from freeatten_core.results.verdicts import SCHEMA, as_stored, judged, upgraded, verdict

LENGTHS = (16, 32, 64)
NAN = math.nan
BELOW, LITTLE, SMALL = (-0.2, -0.05), (-0.019, -0.005), (-0.01, 0.015)
ACROSS, ABOVE, LITTLE_ABOVE = (-0.01, 0.09), (0.03, 0.09), (0.001, 0.015)


def bounds(pair):
    return pair and (sum(pair) / 2, *pair)


def says(*ci95, sliding=BELOW, window=BELOW, lengths=LENGTHS, trained=16):
    delta = [bounds(pair) for pair in ci95]
    return verdict(lengths, delta, trained, bounds(sliding), bounds(window))


CONTROLLED = {
    "all three below 0": ((BELOW, BELOW, BELOW), "uses"),
    "from below the band": (((-0.05, -0.001), BELOW, BELOW), "uses"),
    "no window of its own": ((BELOW, BELOW, None), "uses"),
    "the weakest is wholly inside the band": ((BELOW, BELOW, LITTLE), "no better"),
    "a little below its restart, as a window is": ((LITTLE, BELOW, BELOW), "harmless"),
    "level with sliding": ((BELOW, SMALL, BELOW), "no better"),
    "level with its window": ((BELOW, BELOW, (0, 0)), "no better"),
    "unclear against its window": ((BELOW, BELOW, (-0.035, 0.011)), "no better"),
    "above sliding": ((BELOW, ABOVE, BELOW), "worse"),
    "above its window": ((BELOW, BELOW, ABOVE), "worse"),
    "above its window by next to nothing": ((BELOW, BELOW, LITTLE_ABOVE), "no better"),
    "sliding not measured": ((BELOW, None, BELOW), "not controlled"),
    "neither measured": ((BELOW, None, None), "not controlled"),
    "sliding not measured, and level with its window": ((BELOW, None, (0, 0)), "no better"),
    "sliding not finite": ((BELOW, (NAN, NAN), BELOW), "unclear"),
}


@pytest.mark.parametrize(("given", "expected"), CONTROLLED.values(), ids=CONTROLLED.keys())
def test_use_has_to_beat_both_controls(given, expected):
    delta, sliding, window = given
    found, _ = says((0, 0), (0, 0), delta, sliding=sliding, window=window)
    assert found == expected


RESTARTED = {
    "harmless": ([(0, 0), (0.5, 0.6), SMALL], ("harmless", None)),
    "harmless at its bounds": ([(0, 0), (0, 0), (-0.02, 0.02)], ("harmless", None)),
    "above 0 by next to nothing": ([(0, 0), (0, 0), LITTLE_ABOVE], ("harmless", None)),
    "hurts at the end": ([(0, 0), (-0.01, 0.02), ABOVE], ("hurts", 64)),
    "hurts from the middle": ([(0, 0), (0.01, 0.05), ABOVE], ("hurts", 32)),
    "hurts, not yet from the middle": ([(0, 0), (0, 0.05), (0.001, 0.09)], ("hurts", 64)),
    "hurts with the middle unknown": ([(0, 0), (NAN, NAN), ABOVE], ("hurts", 64)),
    "unclear": ([(0, 0), (0.1, 0.2), ACROSS], ("unclear", None)),
    "unclear, touching 0": ([(0, 0), (0.1, 0.2), (0, 0.09)], ("unclear", None)),
    "one text": ([(NAN, NAN)] * 3, ("unclear", None)),
    "infinite": ([(0, 0), (0, 0), (0.1, math.inf)], ("unclear", None)),
}


@pytest.mark.parametrize(("ci95", "expected"), RESTARTED.values(), ids=RESTARTED.keys())
@pytest.mark.parametrize("controls", [(ABOVE, ABOVE), (BELOW, BELOW), (None, None)])
def test_what_the_restart_decides_needs_no_control(ci95, expected, controls):
    sliding, window = controls
    assert says(*ci95, sliding=sliding, window=window) == expected


def test_a_variant_hurts_only_from_where_it_hurts_to_the_end():
    ci95 = [(0, 0), (0.1, 0.2), (-0.1, 0.1), (0.1, 0.2), (0.1, 0.2)]
    assert says(*ci95, lengths=(16, 32, 64, 128, 256)) == ("hurts", 128)


def test_only_the_training_length_says_nothing():
    assert says((0.0, 0.0), lengths=[16]) == ("unclear", None)
    assert says((NAN, NAN), lengths=[16], trained=32) == ("unclear", None)


def test_lengths_up_to_the_training_length_never_hurt():
    assert says((0.1, 0.2), (0.1, 0.2), (0.1, 0.2), trained=32) == ("hurts", 64)


# results of before the controls


def old_row(variant, checkpoint="softmax", restart=2.0, at_end=(-0.3, -0.1), **changes):
    mean = sum(at_end) / 2
    return {
        "variant": variant,
        "checkpoint": checkpoint,
        "train_length": 16,
        "restart_loss": restart,
        "delta": [0, mean],
        "delta_ci95": [[0, 0], [mean - 0.05, mean + 0.05]],
        "delta_by_text": [[0, each] for each in at_end],
        "verdict": "uses",
        "hurts_from": None,
    } | changes


def old_result(*rows):
    return {"schema": 1, "lengths": [16, 32], "variants": list(rows)}


def test_what_was_said_to_use_is_not_without_the_sliding_control():
    (row,) = upgraded(old_result(old_row("near.py:near")))["variants"]
    assert (row["verdict"], row["sliding_delta"], row["window_delta"]) == (
        "not controlled",
        None,
        None,
    )


def test_the_window_of_old_rows_is_the_difference_of_their_deltas():
    window = old_row("softmax+window", at_end=(-0.2, -0.1))
    rows = upgraded(old_result(old_row("softmax+rerope", at_end=(-0.4, -0.2)), window))["variants"]
    rerope, itself = rows
    assert rerope["window_delta_by_text"] == pytest.approx([-0.2, -0.1])
    # the mean of -0.2 and -0.1; t(0.975; 1) = 12.7062, deviation 0.0707107, half 0.635310
    assert rerope["window_delta"] == pytest.approx(-0.15)
    assert rerope["window_delta_ci95"] == pytest.approx([-0.78531, 0.48531], abs=1e-5)
    assert (itself["window_delta"], itself["verdict"]) == (0, "no better")


@pytest.mark.parametrize(
    "other",
    [
        old_row("softmax+window", restart=2.3),
        old_row("softmax+window", checkpoint="another"),
        old_row("softmax+window", restart=None),
        old_row("softmax+swap:to=lssa+window"),
    ],
    ids=["another restart", "another checkpoint", "no restart", "another attention"],
)
def test_windows_that_do_not_share_the_restart_say_nothing(other):
    row = upgraded(old_result(old_row("softmax"), other))["variants"][0]
    assert row["window_delta"] is None


def test_a_result_of_today_is_left_as_it_is():
    result = {"schema": SCHEMA, "variants": [{"verdict": "uses"}]}
    assert upgraded(result) == result


def test_the_verdict_of_a_row_is_that_of_its_numbers():
    row = old_row("softmax", sliding_delta=-0.1, sliding_delta_ci95=[-0.15, -0.05])
    assert judged(row, [16, 32])["verdict"] == "uses"
    row |= {"window_delta": 0.1, "window_delta_ci95": [0.05, 0.15]}
    assert judged(row, [16, 32])["verdict"] == "worse"
    assert judged(row | {"delta": [0, None]}, [16, 32])["verdict"] == "unclear"


# what is stored


def test_results_are_stored_without_the_numbers_of_single_texts():
    declared = {"length": 16, "sliding_delta": -0.1, "sliding_delta_by_text": [-0.1]}
    row = {"loss": [2.0], "loss_by_text": [[2.0]], "at_declared": declared}
    stored = as_stored({"schema": SCHEMA, "control": "restart", "variants": [row]})
    kept = {"length": 16, "sliding_delta": -0.1}
    assert stored["variants"] == [{"loss": [2.0], "at_declared": kept}]


def test_of_a_single_head_what_a_table_takes_is_stored():
    measured = {"mean_distance": [3.5], "far": [0.25], "received": [0.5]}
    head = {"layer": 1, "head": 2, "sink": 0.125}
    found = head | {"entropy": 1.5, "by_length": measured | {"entropy": [1.5]}}
    row = {"by_length": {"entropy": [1.5]}, "heads": [found]}
    (stored,) = as_stored({"variants": [row]})["variants"]
    assert stored == row | {"heads": [head | {"by_length": measured}]}
    undone = {"heads": [head | {"change": -0.5}]}
    assert as_stored({"variants": [undone]})["variants"] == [undone]


def test_of_old_comparisons_they_are_kept_because_w_is_made_of_them():
    old = old_result(old_row("softmax"), old_row("softmax+window")) | {"control": "restart"}
    assert as_stored(old) == old


def test_no_stored_result_has_them():
    for path in (assets() / "results").rglob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert "variants" not in found or as_stored(found) == found, path.name
