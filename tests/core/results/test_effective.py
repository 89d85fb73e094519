"""The effective length, worked by hand."""

import pytest

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


def test_words_say_where_measuring_ended_first():
    result = {"task": "recall", "lengths": LENGTHS}
    for scores, words in (
        ([1.0, 1.0, 1.0, 0.9], "≥ 1,024"),
        ([1.0, 1.0, 0.9, 0.1], "512"),
        ([0.0, 0.0, 0.0, 0.0], "–"),
    ):
        assert effective_text(result, {"accuracy": scores, "train_length": 256}) == words
