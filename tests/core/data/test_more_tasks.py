"""MQAR, forgetting, passkey and flip-flop: what is asked stands before."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tasks.flip_flop import IGNORE, READ, WRITE, FlipFlopTask
from freeatten_core.data.tasks.forgetting import ForgettingTask
from freeatten_core.data.tasks.mqar import MqarTask
from freeatten_core.data.tasks.passkey import PasskeyTask
from freeatten_core.data.tasks.table import RETRIEVED, TASKS
from freeatten_core.data.tasks.task import UNSCORED

SMALL = {
    "mqar": MqarTask(vocabulary=40, pairs=4),
    "forgetting": ForgettingTask(keys=3, values=4, fillers=5, pairs=6, queries=5),
    "passkey": PasskeyTask(fillers=7, digits=3),
    "flip-flop": FlipFlopTask(writes=3, reads=4),
}


def found(task, tokens, at):
    """The answer to the query at a place, and how far back it stands, by reading back."""
    if isinstance(task, MqarTask):
        place = next(i for i in range(0, 2 * task.pairs, 2) if tokens[i] == tokens[at])
        return tokens[place + 1], at - (place + 1)
    if isinstance(task, ForgettingTask):
        key = tokens[at] - task.first_query
        pairs = range(
            task.first_pair + key * task.values, task.first_pair + (key + 1) * task.values
        )
        place = next(i for i in range(at, -1, -1) if tokens[i] in pairs)
        return task.first_answer + tokens[place] - pairs.start, at - place
    if isinstance(task, PasskeyTask):
        (mark,) = np.flatnonzero(tokens == task.fillers)
        place = mark + 1 + at - (len(tokens) - task.digits)
        return tokens[place], at - place
    place = max(i for i in range(0, at, 2) if tokens[i] == WRITE)
    return tokens[place + 1], at - (place + 1)


@given(st.sampled_from(sorted(SMALL)), st.integers(0, 40), st.integers(0, 99))
def test_every_answer_stands_before_its_query_as_far_back_as_told(kind, more, seed):
    task = SMALL[kind]
    drawn = task.draw(task.shortest + more, 3, (seed,))
    for row in range(3):
        for at, answer, distance in zip(
            drawn.queries[row], drawn.answers[row], drawn.distances[row], strict=True
        ):
            assert found(task, drawn.tokens[row], at) == (answer, distance)
            assert task.first_answer <= answer < task.vocab_size
            assert distance > 0
        assert len(set(drawn.queries[row])) == drawn.queries.shape[1]
    assert drawn.tokens.min() >= 0
    assert drawn.tokens.max() < task.vocab_size


@given(st.sampled_from(sorted(SMALL)), st.integers(0, 99))
def test_sequences_depend_on_the_arguments_alone(kind, seed):
    task = SMALL[kind]
    one, same, other = (task.draw(60, 4, (key,)) for key in (seed, seed, seed + 1))
    assert np.array_equal(one.tokens, same.tokens)
    assert np.array_equal(one.targets(), same.targets())
    assert not np.array_equal(one.tokens, other.tokens)


@pytest.mark.parametrize("kind", SMALL)
def test_every_length_asks_as_much(kind):
    task = SMALL[kind]
    assert len({task.draw(length, 2, (0,)).queries.shape for length in (30, 31, 64, 200)}) == 1


@pytest.mark.parametrize("kind", SMALL)
def test_a_length_that_cannot_hold_what_is_asked_is_refused(kind):
    task = SMALL[kind]
    assert task.draw(task.shortest, 2, (0,)).tokens.shape == (2, task.shortest)
    with refused(UsageError, [f"needs at least {task.shortest} tokens"]):
        task.draw(task.shortest - 1, 2, (0,))


@pytest.mark.parametrize(
    ("kind", "chance"),
    [("mqar", 1 / 4096), ("forgetting", 1 / 16), ("passkey", 0.1), ("flip-flop", 0.5)],
)
def test_a_guess_is_right_as_often_as_there_are_answers(kind, chance):
    assert RETRIEVED[kind].chance == TASKS[kind].chance == chance


# MQAR as its source has it


def test_mqar_asks_near_keys_most():
    task, counts = MqarTask(vocabulary=64, pairs=1), np.zeros(49)
    drawn = task.draw(100, 40_000, (0,))
    gaps = (drawn.queries[:, 0] - 2) // 2
    counts = np.bincount(gaps, minlength=49) / 40_000
    chances = np.arange(1, 50) ** -0.99
    assert counts == pytest.approx(chances / chances.sum(), abs=0.01)


def test_mqar_pairs_differ_in_keys_and_in_values():
    task = SMALL["mqar"]
    for tokens in task.draw(40, 50, (0,)).tokens:
        keys, values = tokens[0:8:2], tokens[1:8:2]
        assert len(set(keys)) == len(set(values)) == 4
        assert keys.min() > 0
        assert keys.max() < 20 <= values.min()


def test_mqar_is_trained_on_three_lengths_at_once():
    task = MqarTask(vocabulary=64, pairs=8)
    tokens, targets = task.training(128, 9, (0,))
    scored = (targets != UNSCORED).sum(axis=1)
    assert scored.tolist() == [8] * 3 + [4] * 3 + [2] * 3
    ends = [np.flatnonzero(row != UNSCORED).max() for row in targets]
    assert all(
        end < width for end, width in zip(ends, [128] * 3 + [64] * 3 + [32] * 3, strict=True)
    )
    assert tokens.shape == targets.shape == (9, 128)


def test_mqar_cannot_have_more_pairs_than_keys():
    assert replace(SMALL["mqar"], pairs=19).refusal() is None
    assert "20 pairs of different keys, and 19 keys" in replace(SMALL["mqar"], pairs=20).refusal()


# the others


def test_forgetting_gives_most_queried_keys_several_values():
    task = ForgettingTask()
    drawn = task.draw(256, 20, (0,))
    pairs = drawn.tokens[:, :128] - task.first_pair
    keys = np.where((pairs >= 0) & (pairs < task.keys * task.values), pairs // task.values, -1)
    several = [(row == key).sum() > 1 for row in keys for key in range(task.keys)]
    assert np.mean(several) > 0.7


def test_a_passkeys_filler_is_one_sentence_over_and_over():
    task = SMALL["passkey"]
    for tokens in task.draw(60, 10, (0,)).tokens:
        filler = np.flatnonzero(tokens < task.fillers)
        assert len(set((tokens[filler] - filler) % task.fillers)) == 1


def test_flip_flops_have_as_many_writes_and_reads_and_begin_with_a_write():
    task = SMALL["flip-flop"]
    for tokens in task.draw(61, 20, (0,)).tokens:
        orders = tokens[0:60:2]
        counts = [int((orders == order).sum()) for order in (WRITE, READ, IGNORE)]
        assert (orders[0], counts) == (WRITE, [3, 4, 23])
        assert set(tokens[1:60:2]) <= {3, 4}
