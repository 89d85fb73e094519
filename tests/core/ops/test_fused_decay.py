"""What is forgotten, in the Triton kernels: on a GPU if there is one, else in the interpreter."""

from dataclasses import fields, replace
from importlib import import_module

import pytest
import torch
from battery import DEVICE, fused, outcome
from needs_triton import require_kernels
from strategies import Call, amplification, assert_within
from test_decay import CALLS

from freeatten_core.ops.backends.panels import statistics as panel_statistics
from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
ops = import_module("freeatten_core.ops.backends.fused.ops")

pytestmark = pytest.mark.usefixtures("small_tiles", "quiet_numpy")
each_family = pytest.mark.parametrize(
    "variant", ["softmax", "softmax-r:p=3", "lssar:p=15", "softplus-r:p=3"]
)
FEW = {
    name: replace(CALLS[name], batch=1, heads=CALLS[name].groups, dim=16, value_dim=16)
    for name in ("longer cache", "a sum of 500", "everything")
}
"""As few heads as there can be, for the interpreter."""


def placed(call, dtype=torch.float32):
    inputs = [x.to(DEVICE) for x in call.tensors(dtype)]
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    return inputs, options


@pytest.mark.parametrize("call", FEW.values(), ids=FEW.keys())
@each_family
def test_values_and_gradients_are_those_of_float64(variant, call):
    inputs, options = placed(call)
    actual = outcome(fused, inputs, variant, options)
    exact = outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)
    amplified = amplification(*inputs[:2], variant, options)
    step = 12 * torch.finfo(torch.float32).eps
    if call.decay == 500:
        step *= 10  # a sum of 500 in float32 is itself rounded by 3e-5
    assert_within(actual[0], exact[0], step * inputs[2].abs().max() * amplified)
    worst = amplified.max().item()
    for one, other in zip(actual[1:], exact[1:], strict=True):
        assert_within(one, other, 4 * step * worst * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("variant", ["softmax", "softplus-r:p=3"])
def test_gradients_are_bitwise_equal_when_repeated(variant):
    inputs, options = placed(Call(35, 35, 16, 16, batch=1, groups=2, decay=9.0))
    once, again = (outcome(fused, inputs, variant, options) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_all_that_is_allocated_is_written(variant):
    inputs, options = placed(Call(35, 20, 20, 17, batch=1, groups=2, decay=500.0))
    for x in outcome(fused, inputs, variant, options):
        assert x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_family
def test_low_precision_is_better_than_twice_the_eager_error(variant, dtype):
    call = Call(40, 40, 32, 32, batch=1, heads=1, decay=500.0)
    inputs, options = placed(call, dtype)
    actual = outcome(fused, inputs, variant, options)
    eager = outcome(staged.reference_attention, inputs, variant, options)
    exact = outcome(staged.reference_attention, [x.double() for x in inputs], variant, options)
    for one, other, true in zip(actual, eager, exact, strict=True):
        assert one.isfinite().all()
        bound = 4 * (other - true).square().mean().nan_to_num(torch.inf)
        assert (one - true).square().mean() <= bound


@each_family
def test_statistics_equal_those_of_the_panels(variant):
    call = FEW["everything"]
    query, key, _ = call.tensors(torch.float32)
    terms = ScoreTerms(*(call.options[name] for name in ScoreTerms._fields))
    problem = check(
        query, key, None, variant, **call.masking, terms=terms, window=call.options["window"]
    )
    placed_terms = terms.map(lambda x: x.to(DEVICE))
    actual = ops.row_statistics(problem, query.to(DEVICE), key.to(DEVICE), placed_terms)
    exact = panel_statistics.row_statistics(problem, query.double(), key.double(), terms)
    amplified = amplification(query, key, variant, call.options)[..., 0]
    for field in fields(actual):
        one, other = getattr(actual, field.name).cpu(), getattr(exact, field.name)
        largest = 40 if field.name == "mean_distance" else other.abs().clamp(min=1)
        assert_within(one, other, 2e-6 * amplified * largest)
