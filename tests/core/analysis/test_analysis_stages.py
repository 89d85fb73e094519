import pytest
import torch
from captures import dense_layer, learned_capture, random_capture, with_query
from hypothesis import given
from hypothesis import strategies as st
from strategies import VARIANTS, dense, refused, stages

from freeatten_core.analysis import row_stages
from freeatten_core.basics.errors import UsageError

STAGES = ("score", "positivity", "normalise", "weights")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("position", [0, 2, 3, 39])
def test_are_the_row_of_the_reference(variant, position):
    capture = random_capture(variant)
    expected = dense_layer(capture, 2)
    actual = row_stages(capture, 2, 3, position)
    assert actual.keys.tolist() == list(range(position + 1))
    assert torch.equal(actual.tokens, capture.tokens[: position + 1])
    for stage in STAGES:
        row = getattr(expected, stage)[0, 3, position, : position + 1]
        # the kept float64 vectors are handed out as float32
        torch.testing.assert_close(getattr(actual, stage), row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "first"), [(0, 25), (2, 0)], ids=["local", "global"])
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=3", "sigmoid"])
def test_with_learned_numbers_are_the_row_of_the_reference(variant, layer, first):
    capture = learned_capture(variant)
    expected = dense_layer(capture, layer)
    actual = row_stages(capture, layer, 3, 39)
    assert actual.keys.tolist() == list(range(first, 40))
    for stage in STAGES:
        row = getattr(expected, stage)[0, 3, 39, first:]
        torch.testing.assert_close(getattr(actual, stage), row, rtol=1e-4, atol=1e-5)
    with refused(UsageError, ["last", str(41 - first)]):
        row_stages(capture, layer, 3, 39, last=41 - first)


@given(st.sampled_from(VARIANTS), st.integers(0, 39), st.data())
def test_of_the_last_keys_are_those_of_a_shorter_text(variant, position, data):
    last = data.draw(st.integers(1, position + 1))
    capture = random_capture(variant)
    actual = row_stages(capture, 0, 1, position, last=last)
    start = position + 1 - last
    query, key = (x.double()[None, None] for x in capture.head(0, 1))
    seen = slice(start, position + 1)
    expected = dense(query[:, :, seen], key[:, :, seen], variant, {})
    assert actual.count == last
    assert actual.keys.tolist() == list(range(start, position + 1))
    assert torch.equal(actual.tokens, capture.tokens[start : position + 1])
    for stage in STAGES:
        torch.testing.assert_close(getattr(actual, stage), getattr(expected, stage)[0, 0, -1])


@pytest.mark.parametrize("power", [1, 3, 15, 64])
def test_with_another_power_are_those_of_that_variant(power):
    other = row_stages(random_capture("lssar:p=15"), 0, 0, 30, power=power)
    own = row_stages(random_capture("lssar:p=3"), 0, 0, 30, power=power)
    plain = row_stages(random_capture("lssa"), 0, 0, 30, power=power)
    assert torch.equal(other.weights, own.weights)
    assert torch.equal(other.weights, plain.weights)
    assert other.stages == stages(f"lssar:p={power}")


def test_without_sharpening_end_at_the_normalised_row():
    sharp = row_stages(random_capture("lssar:p=15"), 0, 0, 30)
    plain = row_stages(random_capture("lssar:p=15"), 0, 0, 30, power=None)
    assert torch.equal(plain.weights, plain.normalise)
    assert torch.equal(plain.normalise, sharp.normalise)
    assert (plain.offset, sharp.offset) == (0, 1)
    assert plain.stages == stages("lssa")


def test_say_when_the_rule_for_uniform_rows_fires():
    capture = random_capture("lssar:p=15")
    blind = with_query(capture, torch.zeros_like(capture.layers[0].query))
    row = row_stages(blind, 0, 0, 20)
    assert (row.offset, row.uniform) == (0, True)
    torch.testing.assert_close(row.weights, torch.full((21,), 1 / 21, dtype=torch.float64))
    assert not row_stages(blind, 0, 0, 2).uniform  # by the rule for the first three rows
    assert not row_stages(capture, 0, 0, 20).uniform
    assert not row_stages(random_capture("lssa"), 0, 0, 20).uniform


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer": 1}, ["layer is 1", "0, 2"]),
        ({"head": 4}, ["head is 4", "0 to 3"]),
        ({"head": -1}, ["head is -1", "0 to 3"]),
        ({"position": 40}, ["position is 40", "0 to 39"]),
        ({"position": -1}, ["position is -1"]),
        ({"position": 1.5}, ["position is 1.5", "whole number"]),
        ({"position": True}, ["position is True", "whole number"]),
        ({"last": 0}, ["last is 0", "1 to 21"]),
        ({"last": 22}, ["last is 22", "1 to 21"]),
        ({"power": 65}, ["p is 65", "1 to 64"]),
        ({"power": 1.5}, ["p is 1.5"]),
    ],
)
def test_errors_name_the_bounds(arguments, words):
    arguments = {"layer": 0, "head": 0, "position": 20} | arguments
    with refused(UsageError, words):
        row_stages(random_capture("lssar:p=15"), **arguments)


def test_variants_without_the_row_sum_are_not_sharpened():
    with refused(UsageError, ["normalise='l1'"]):
        row_stages(random_capture("sigmoid"), 0, 0, 5, power=3)
