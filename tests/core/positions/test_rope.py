"""Rotary positions and their scaling by YaRN, against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from freeatten_core.positions.rope import Rope, rotate

CPU = torch.device("cpu")
PLAIN = Rope(dim=4, base=10_000.0, train_length=512)


def turned(vectors, rope, positions):
    """Vectors (L, D), each rotated to its position."""
    cos, sin = rope.table(max(positions) + 1, CPU)
    return rotate(vectors[None, None], cos[positions], sin[positions])[0, 0]


def test_angles_of_the_plain_embedding():
    assert PLAIN.frequencies(512).tolist() == pytest.approx([1.0, 0.01])
    cos, sin = PLAIN.table(101, CPU)
    assert cos.shape == sin.shape == (101, 2)
    assert cos[0].tolist() == [1, 1]
    assert sin[0].tolist() == [0, 0]
    assert cos[3].tolist() == pytest.approx([math.cos(3), math.cos(0.03)])
    assert sin[100].tolist() == pytest.approx([math.sin(100), math.sin(1)], abs=1e-6)


def test_pairs_are_half_a_head_apart():
    vector = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    found = turned(vector, PLAIN, [2])[0]
    c, s, small_c, small_s = math.cos(2), math.sin(2), math.cos(0.02), math.sin(0.02)
    expected = [
        c - 3 * s,
        2 * small_c - 4 * small_s,
        s + 3 * c,
        2 * small_s + 4 * small_c,
    ]
    assert found.tolist() == pytest.approx(expected)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 2000))
def test_a_product_depends_on_the_distance_only(first, second, shift):
    pair = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    rope = Rope(8, 10_000.0, 512)
    near = turned(pair, rope, [first, second])
    far = turned(pair, rope, [first + shift, second + shift])
    assert float(far[0] @ far[1]) == pytest.approx(float(near[0] @ near[1]), abs=2e-5)
    assert near.norm(dim=1).tolist() == pytest.approx(pair.norm(dim=1).tolist(), rel=1e-5)


def test_a_product_does_depend_on_the_distance():
    same = torch.ones(2, 4)
    one, two = (turned(same, PLAIN, [5, 5 + distance]) for distance in (1, 2))
    assert float(one[0] @ one[1]) == pytest.approx(2 * math.cos(1) + 2 * math.cos(0.01))
    assert float(two[0] @ two[1]) == pytest.approx(2 * math.cos(2) + 2 * math.cos(0.02))


def test_low_precision_stays_low_precision():
    vectors = torch.randn(1, 2, 5, 4).bfloat16()
    cos, sin = PLAIN.table(5, CPU)
    found = rotate(vectors, cos, sin)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, rotate(vectors.float(), cos, sin).bfloat16())


def test_yarn_by_hand():
    """L = 512, base 10000, D = 64, s = 16: r = L θ / 2π, γ = (r − 1) / 31 held in 0…1."""
    theta = Rope(64, 10_000.0, 512, stretch=16.0).frequencies(512)
    # pair 0: θ = 1, r = 81.5 > 32: as it is. Pair 3: θ = 0.421697, r = 34.4: as it is
    assert theta[[0, 3]].tolist() == pytest.approx([1.0, 0.4216965], rel=1e-6)
    # pair 8: θ = 0.1, r = 8.148733, γ = 0.2306043; 0.1 · (0.7693957 / 16 + 0.2306043)
    assert float(theta[8]) == pytest.approx(0.0278691536, rel=1e-6)
    # pair 4: θ = 0.3162278, r = 25.768557, γ = 0.7989857
    assert float(theta[4]) == pytest.approx(0.3162278 * (0.2010143 / 16 + 0.7989857), rel=1e-6)
    # pairs 16 and 31: θ = 0.01 and 1.333521e-4, r = 0.81 and 0.011 < 1: divided by 16
    assert theta[[16, 31]].tolist() == pytest.approx([0.000625, 1.333521e-4 / 16], rel=1e-6)


def test_the_temperature_of_yarn_multiplies_query_and_key():
    rope = Rope(64, 10_000.0, 512, stretch=16.0)
    assert rope.temperature == pytest.approx(1.2772589)  # 0.1 · ln 16 + 1
    cos, sin = rope.table(20, CPU)
    assert (cos.square() + sin.square()).sqrt().flatten().tolist() == pytest.approx(
        [1.2772589] * 640, rel=1e-5
    )


def test_a_stretch_of_1_is_the_plain_embedding():
    plain, stretched = Rope(64, 500.0, 32), Rope(64, 500.0, 32, stretch=1.0)
    assert torch.equal(plain.frequencies(512), stretched.frequencies(512))
    assert plain.temperature == stretched.temperature == 1
    cos, sin = stretched.table(10, CPU)
    torch.testing.assert_close(cos.square() + sin.square(), torch.ones(10, 32))


@given(st.floats(1.01, 100), st.integers(8, 4096))
def test_yarn_slows_every_pair_by_at_most_the_stretch(stretch, train_length):
    theta = Rope(32, 10_000.0, train_length).frequencies(512)
    scaled = Rope(32, 10_000.0, train_length, stretch).frequencies(512)
    turns = train_length * theta / (2 * math.pi)
    assert (scaled <= theta * (1 + 1e-12)).all()
    assert (scaled >= theta / stretch * (1 - 1e-12)).all()
    torch.testing.assert_close(scaled[turns >= 32], theta[turns >= 32])
    torch.testing.assert_close(scaled[turns <= 1], theta[turns <= 1] / stretch)
