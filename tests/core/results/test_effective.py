"""The effective length, worked by hand."""

import json

import pytest

from freeatten_core.basics.assets import assets
from freeatten_core.results.effective import effective_length, effective_text

LENGTHS = [128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("scores", "length"),
    [
        ((1.0, 1.0, 0.9, 0.5), 512),
        ((1.0, 1.0, 0.85, 0.85), 1024),
        ((1.0, 1.0, 0.849, 0.9), 256),  # what comes back later does not count
        ((0.5, 1.0, 0.9, 0.2), 512),  # the base is the best up to what was trained on
        ((1.0, 0.5, 0.9, 0.2), 512),
        ((0.4, 0.4, 0.35, 0.3), 512),  # a share of one's own score, whatever it is
        ((-0.1, 0.0, 0.2, 0.2), None),
        ((None, None, None, None), None),
        ((1.0, 1.0, None, 1.0), 256),
    ],
)
def test_it_is_the_last_length_that_keeps_85_percent(scores, length):
    assert effective_length(LENGTHS, scores, 256) == length


def test_where_nothing_short_was_measured_the_shortest_is_the_base():
    assert effective_length([512, 1024], [0.8, 0.7], 256) == 1024
    assert effective_length([512, 1024], [0.8, 0.6], 256) == 512


GUESS = 0.0625


@pytest.mark.parametrize(
    ("scores", "intervals", "length"),
    [
        ((0.062, 0.053, 0.066, 0.074), ((0.055, 0.069), (0.046, 0.060), (0.06, 0.07)), None),
        ((0.08, 0.06, 0.06, 0.06), ((0.061, 0.104), (0.04, 0.08), (0.04, 0.08)), None),  # luck
        ((0.08, 0.06, 0.06, 0.06), ((0.076, 0.084), (0.05, 0.07), (0.05, 0.07)), 128),
        ((0.07, 0.07, 0.07, 0.07), ((0.069, 0.071),) * 3, None),  # a guess has 0.85 of it
        ((1.0, 0.99, 0.9, 0.07), ((0.99, 1.0), (0.98, 1.0), (0.85, 0.94)), 512),
        ((None, None, None, None), ((None, None),) * 3, None),
        ((1.0, 1.0, 0.9, 0.5), ((None, None),) * 3, 512),
    ],
)
def test_a_row_that_guesses_has_none(scores, intervals, length):
    intervals = [*map(list, intervals), [0.0, 1.0]]
    found = effective_length(LENGTHS, scores, 256, chance=GUESS, intervals=intervals)
    assert found == length


def test_words_say_where_measuring_ended_first():
    result = {"task": "recall", "lengths": LENGTHS, "chance": GUESS}
    for scores, words in (
        ([1.0, 1.0, 1.0, 0.9], "≥ 1,024"),
        ([1.0, 1.0, 0.9, 0.1], "512"),
        ([0.0, 0.0, 0.0, 0.0], "–"),
        ([0.06, 0.06, 0.06, 0.06], "–"),
    ):
        intervals = [[score - 0.01, score + 0.01] for score in scores]
        row = {"accuracy": scores, "accuracy_ci95": intervals, "train_length": 256}
        assert effective_text(result, row) == words


def test_a_small_gain_from_copying_is_no_guess():
    row = {"gain": [0.02, 0.03, 0.03, 0.0], "train_length": 256}
    assert effective_text({"task": "copy", "lengths": LENGTHS}, row) == "512"


STORED = sorted(
    f"{kind}/{path.stem}"
    for kind in ("retrieve", "tasks", "scale", "models")
    for path in (assets() / "results" / kind).glob("*.json")
    if '"effective_length"' in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", STORED)
def test_stored_ones_follow_the_rule(name):
    path = assets() / "results" / f"{name}.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    for row in (each for each in result["variants"] if "effective_length" in each):
        found = row["effective_length"]
        assert effective_text(result, row).replace("≥ ", "").replace(",", "") == str(found or "–")
