"""What everything that computes an attention promises, against the definition in float64."""

import pytest
import torch
from battery import COMPUTES, OWN, outcome
from strategies import amplification, assert_within

from freeatten_core import Variant
from freeatten_core.ops.definitions import own_function, staged

SOFTMAX = """
import torch

def softmax(query, key, value):
    score = query @ key.mT / query.shape[-1] ** 0.5
    hidden = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).triu(1)
    return score.masked_fill(hidden, -torch.inf).softmax(-1) @ value
"""


@pytest.fixture(scope="module")
def written_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / OWN.rpartition(":")[0]
    path.write_text(SOFTMAX)
    return path.parent / OWN


@pytest.fixture
def own_softmax(written_file, monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})
    own_function.allow(Variant.parse(str(written_file)))


@pytest.fixture(autouse=True)
def what_an_entry_needs(request):
    for name in request.getfixturevalue("computes").fixtures:
        request.getfixturevalue(name)


def exact(inputs, variant, options):
    """Output and gradients of the definition."""
    return outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)


def each(having, parts):
    """A parameter for every entry that has something, with one of its parts."""
    return [
        pytest.param(computes, *values, id=f"{computes.name}-{name}")
        for computes in COMPUTES
        if having(computes)
        for name, *values in parts(computes)
    ]


def each_variant(having):
    cases = each(having, lambda computes: [(name, name) for name in computes.variants])
    return pytest.mark.parametrize(("computes", "variant"), cases)


@pytest.mark.parametrize(
    ("computes", "variant", "call"),
    each(
        lambda _: True,
        lambda computes: [(f"{name}-{call}", name, of) for name, call, of in computes.cases],
    ),
)
def test_values_and_gradients_are_those_of_float64(computes, variant, call):
    """A row errs by at most `steps · ε · p · (1 + O/u_max)`, times the largest value."""
    inputs, options = computes.inputs(call)
    amplified = amplification(*inputs[:2], variant, options)
    step = computes.steps * torch.finfo(computes.dtype).eps * inputs[2].abs().max().double()
    if computes.gradient is None:
        output, gradients = computes.attend(*inputs, variant, **options), ()
        wanted = [
            staged.reference_attention(*(x.double() for x in inputs), variant, **options),
        ]
    else:
        output, *gradients = outcome(computes.attend, inputs, variant, options)
        wanted = exact(inputs, variant, options)
    assert output.shape == (call.batch, call.heads, call.query_length, call.value_dim)
    assert output.dtype == computes.dtype
    assert_within(output, wanted[0], step * amplified)
    for found, one in zip(gradients, wanted[1:], strict=True):
        bound = computes.gradient(amplified.max().item())
        assert_within(found, one, bound * one.abs().max().clamp(min=1))


@pytest.mark.usefixtures("poisoned_memory")
@each_variant(lambda computes: computes.poisoned)
def test_all_that_is_allocated_is_written(computes, variant):
    assert torch.empty(1).isnan()
    inputs, options = computes.inputs(computes.poisoned)
    for x in outcome(computes.attend, inputs, variant, options):
        assert x.isfinite().all()


@each_variant(lambda computes: computes.repeated)
def test_gradients_are_bitwise_equal_when_repeated(computes, variant):
    inputs, options = computes.inputs(computes.repeated, torch.float32)
    once, again = (outcome(computes.attend, inputs, variant, options) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("computes", "variant"),
    each(
        lambda computes: computes.low_precision is not None,
        lambda computes: [(name, name) for name in computes.low_precision[1]],
    ),
)
def test_low_precision_is_better_than_twice_the_eager_error(computes, variant, dtype):
    inputs, _ = computes.inputs(computes.low_precision[0], dtype)
    actual = outcome(computes.attend, inputs, variant, {})
    eager = outcome(staged.reference_attention, inputs, variant, {})
    wanted = exact(inputs, variant, {})
    for one, other, true in zip(actual, eager, wanted, strict=True):
        assert one.dtype == dtype
        assert (one - true).square().mean() <= 4 * (other - true).square().mean()
    assert (actual[0] - wanted[0]).abs().max() <= 2 * (eager[0] - wanted[0]).abs().max()
