"""PoPE: how much and where, as a product of vectors of twice the size."""

import math

import pytest
import torch
from written import pope_scores

from freeatten_core import attention
from freeatten_core.positions.pope import frequencies, polar_key, polar_query
from freeatten_core.positions.rope import angle_table


def polar(query, key, phase, base=10_000.0):
    place = torch.arange(query.shape[-2]).double()
    cos, sin = angle_table(place, frequencies(query.shape[-1], base))
    return polar_query(query, cos, sin), polar_key(key, cos, sin, phase)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_dimension_has_a_frequency():
    assert frequencies(4, 10_000.0).tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001])


def test_a_score_worked_by_hand():
    """D = 2, θ = 1 and 0.01; softplus(0) = ln 2, softplus(ln(e − 1)) = 1, softplus(ln(e² − 1)) = 2;
    key 0, query 3, δ = (−0.5, −1): (ln 2 · 2 · cos(3.5) + 1 · 1 · cos(1.03)) / √2."""
    one, two = math.log(math.e - 1), math.log(math.e**2 - 1)
    query, key = torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2)
    query[0, 0, 3], key[0, 0, 0] = torch.tensor([0.0, one]), torch.tensor([two, one])
    phase = torch.tensor([[-0.5, -1.0]])
    wanted = (math.log(2) * 2 * math.cos(3.5) + math.cos(1.03)) / math.sqrt(2)
    written = pope_scores(query.double(), key.double(), phase.double(), 10_000.0)
    assert float(written[0, 0, 3, 0]) == pytest.approx(wanted, rel=1e-6)
    turned, kept = polar(query, key, phase)
    found = turned[0, 0, 3] @ kept[0, 0, 0] / math.sqrt(4)  # the operator's 1/√(2D)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_operator_on_twice_the_size_is_the_definition(kv_heads):
    query, value = drawn(2, 2, 30, 8), drawn(2, kv_heads, 30, 8, seed=2)
    key, phase = drawn(2, kv_heads, 30, 8, seed=1), -2 * torch.rand(kv_heads, 8)
    found = attention(*polar(query, key, phase), value, "softmax", enable_gqa=True)
    shared = 2 // kv_heads
    key, value = (each.repeat_interleave(shared, 1).double() for each in (key, value))
    scores = pope_scores(query.double(), key, phase.double().repeat_interleave(shared, 0), 10_000.0)
    hidden = torch.ones(30, 30).triu(1).bool()
    wanted = scores.masked_fill(hidden, -math.inf).softmax(-1) @ value
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_definition():
    found = [drawn(1, 1, 6, 4, seed=seed).requires_grad_() for seed in (0, 1)]
    phase = torch.tensor([[-0.5, -1.0, -0.1, -6.0]]).requires_grad_()
    turned, kept = polar(*found, phase)
    weight = drawn(6, 6, seed=3)
    (turned @ kept.mT / math.sqrt(8) * weight).sum().backward()
    written = [each.detach().double().requires_grad_() for each in (*found, phase)]
    (pope_scores(*written, 10_000.0) * weight).sum().backward()
    for one, other in zip((*found, phase), written, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-5)


def test_delta_is_held_between_minus_2_pi_and_0():
    query, key = drawn(1, 1, 5, 2), drawn(1, 1, 5, 2, seed=1)
    for beyond, held in ((0.7, 0.0), (-9.0, -2 * math.pi)):
        found, wanted = (polar(query, key, torch.full((1, 2), each))[1] for each in (beyond, held))
        torch.testing.assert_close(found, wanted)
    start = torch.zeros(1, 2, requires_grad=True)
    polar(query, key, start)[1].sum().backward()
    assert start.grad.abs().min() > 0  # the start can be left


def test_half_precision_stays_half_precision():
    query, key = drawn(1, 1, 5, 4).bfloat16(), drawn(1, 1, 5, 4, seed=1).bfloat16()
    assert {each.dtype for each in polar(query, key, torch.zeros(1, 4))} == {torch.bfloat16}
