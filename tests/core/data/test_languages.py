"""The regular languages: worked examples, and strings whose answers an automaton confirms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tasks.languages import ASKS, LANGUAGES
from freeatten_core.data.tasks.task import UNSCORED

SYMBOLS = {
    "even-pairs": "01",
    "parity-check": "01",
    "cycle-navigation": "-0+",
    "modular-arithmetic": "01234+-*",
}
ANSWERS = {
    "even-pairs": lambda word: sum(a != b for a, b in pairwise(word)) % 2,
    "parity-check": lambda word: word.count("1") % 2,
    "cycle-navigation": lambda word: (word.count("+") - word.count("-")) % 5,
    # digits and signs alone, drawn here: Python's own arithmetic is the judge
    "modular-arithmetic": lambda word: eval(word) % 5,
}


def encoded(name, word):
    return np.array([[SYMBOLS[name].index(character) for character in word]])


@pytest.mark.parametrize(
    ("name", "word", "answer"),
    [
        # the examples in the docstrings of the source
        ("even-pairs", "001110", 0),
        ("even-pairs", "0101001", 1),
        ("modular-arithmetic", "1+2*3", 2),
        ("modular-arithmetic", "1-1-1", 4),
        ("modular-arithmetic", "0*1+4*3-2", 0),
        ("parity-check", "1010100", 1),
        ("parity-check", "01111", 0),
        ("cycle-navigation", "+-0--", 3),
        ("cycle-navigation", "+++-", 2),
        # at the edges
        ("even-pairs", "1", 0),
        ("parity-check", "1", 1),
        ("cycle-navigation", "-", 4),
        ("modular-arithmetic", "3", 3),
        ("modular-arithmetic", "1-2*3*4", 2),
        ("modular-arithmetic", "4*4*4*0", 0),
    ],
)
def test_a_worked_example_has_its_answer(name, word, answer):
    assert LANGUAGES[name].states(encoded(name, word))[0, -1] == answer
    assert ANSWERS[name](word) == answer


@given(st.sampled_from(sorted(LANGUAGES)), st.integers(2, 41), st.integers(0, 99))
def test_every_string_is_answered_as_its_definition_says(name, width, seed):
    task = LANGUAGES[name]
    tokens, targets = task.training(width, 5, (seed,))
    assert tokens.shape == targets.shape == (5, width)
    for row, goals in zip(tokens, targets, strict=True):
        ((at,),) = np.nonzero(goals != UNSCORED)
        assert (row[at:] == ASKS).all()
        word = "".join(SYMBOLS[name][symbol] for symbol in row[:at])
        assert goals[at] - task.first_answer == ANSWERS[name](word)


def test_lengths_are_drawn_evenly_from_one_to_forty():
    for name, task in LANGUAGES.items():
        _, targets = task.training(41, 4000, (0,))
        lengths = np.nonzero(targets != UNSCORED)[1]
        odd_only = name == "modular-arithmetic"
        wanted = range(1, 40, 2) if odd_only else range(1, 41)
        counts = np.bincount(lengths, minlength=41)
        assert set(np.flatnonzero(counts)) == set(wanted)
        assert counts[counts > 0].min() > 0.6 * 4000 / len(wanted)


def test_a_sequence_of_a_length_is_one_string_and_its_question():
    for task in LANGUAGES.values():
        drawn = task.draw(12, 3, (1,))
        assert (drawn.queries == 11).all()
        assert np.array_equal(drawn.distances, drawn.queries)
        assert (drawn.tokens[:, :11] < ASKS).all()


def test_an_expression_of_even_length_is_a_symbol_shorter():
    drawn = LANGUAGES["modular-arithmetic"].draw(13, 3, (1,))
    assert (drawn.queries == 11).all()
    assert (drawn.tokens[:, 11:] == ASKS).all()


@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("even-pairs", 0.5),
        ("modular-arithmetic", 0.2),
        ("parity-check", 0.5),
        ("cycle-navigation", 0.2),
    ],
)
def test_a_guess_is_right_as_often_as_there_are_classes(name, chance):
    task = LANGUAGES[name]
    assert task.chance == chance
    assert task.vocab_size == 16  # of all, so that their models are alike
    drawn = task.draw(41, 4000, (0,))
    answers = np.bincount(drawn.answers[:, 0] - task.first_answer) / 4000
    # products of a digit 0 make 0 likelier than another value
    assert (abs(answers - chance) < (0.12 if name == "modular-arithmetic" else 0.03)).all()


def test_strings_depend_on_the_key_alone():
    task = LANGUAGES["parity-check"]
    one, same, other = (task.training(41, 8, (key,))[0] for key in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_width_without_room_for_a_symbol_is_refused():
    with refused(UsageError, ["parity-check needs at least 2 tokens", "the length is 1"]):
        LANGUAGES["parity-check"].draw(1, 1, (0,))
