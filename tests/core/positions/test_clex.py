"""CLEX: the equation, where a training step puts its tokens, and what it starts from."""

import math

import pytest
import torch
from written import clex_frequencies, ntk, weights

from freeatten_core.positions.clex import LARGEST_STRETCH, drawn, frequencies, stretch_of
from freeatten_core.positions.rope import Rope

BASE = 10_000.0


def test_the_start_is_ntk_scaling_by_2t_minus_1():
    up, down = weights(32, 0)
    found = frequencies(up, torch.zeros_like(down), BASE)
    assert found.shape == (LARGEST_STRETCH, 32)
    for t in range(1, LARGEST_STRETCH + 1):
        torch.testing.assert_close(found[t - 1], ntk(BASE, 64, 2 * t - 1), rtol=1e-12, atol=0)
        rope = Rope(64, BASE, 512, stretch=2 * t - 1, scaling="ntk")
        torch.testing.assert_close(found[t - 1], rope.frequencies(512), rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("t", [2, 5, 16])
def test_the_solution_is_that_of_the_authors_small_steps(seed, t):
    up, down = weights(32, seed)
    wanted = clex_frequencies(up, down, BASE, t)
    assert (wanted / ntk(BASE, 64, 2 * t - 1)).log().abs().max() > 0.05  # the weights do something
    torch.testing.assert_close(frequencies(up, down, BASE, t)[-1], wanted, rtol=1e-5, atol=0)


def test_a_solution_worked_by_hand():
    """D = 4: ω = 1 and 0.01. With a W_up that reads the second pair alone, whose logarithm is
    below −9, tanh is −1 throughout, and z has −W_down (t − 1) beside NTK scaling, whose second
    frequency is 0.01 / α."""
    up = torch.tensor([[0.0, 0.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0]])
    down = torch.tensor([[0.3, 0.1], [5.0, 5.0], [0.0, 0.0], [0.0, 0.0]])
    found = frequencies(up, down, BASE, 3)
    wanted = [
        [1.0, 0.01],
        [math.exp(-0.3), 0.01 / 3 * math.exp(-0.1)],
        [math.exp(-0.6), 0.01 / 5 * math.exp(-0.2)],
    ]
    assert found.tolist() == [pytest.approx(row, rel=1e-6) for row in wanted]


def test_gradients_are_those_of_differences():
    up, down = (each.requires_grad_() for each in weights(3, 2, scale=0.5))
    assert torch.autograd.gradcheck(lambda *learned: frequencies(*learned, BASE, 4), (up, down))


@pytest.mark.parametrize(
    ("length", "t"), [(1, 1), (512, 1), (513, 2), (1024, 2), (8192, 16), (8193, 16), (99_999, 16)]
)
def test_a_text_s_stretch_is_how_often_the_training_length_covers_it(length, t):
    assert stretch_of(length, 512) == t
    started = Rope(64, BASE, 512, scaling="clex-start")
    torch.testing.assert_close(started.frequencies(length), ntk(BASE, 64, 2 * t - 1))


def test_a_step_s_places_are_sorted_distinct_and_reach_t_lengths():
    found = [drawn(16, (3, step)) for step in range(400)]
    assert {t for t, _ in found} == set(range(1, LARGEST_STRETCH + 1))
    for t, places in found:
        assert len(places) == 16
        assert (places[1:] > places[:-1]).all()
        assert (places[0], places[-1]) == (0, 16 * t - 1)
        assert t > 1 or places.tolist() == list(range(16))
    inner = [set(places[1:-1].tolist()) for t, places in found if t == 2]
    assert set.union(*inner) == set(range(1, 31))
    again, places = drawn(16, (3, 7))
    assert (again, places.tolist()) == (found[7][0], found[7][1].tolist())
