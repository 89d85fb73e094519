"""What everything that computes an attention promises, against the definition in float64."""

from dataclasses import fields

import pytest
import torch
from adversarial import ADVERSARIAL, away, peaked
from battery import COMPUTES, OWN, SINGLE, outcome
from described import dense_statistics, distances
from refusals import of
from strategies import Call, amplification, assert_within, refused, stages

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
    slow = [pytest.mark.slow]
    return [
        pytest.param(
            computes,
            *values,
            id=f"{computes.name}-{name}",
            marks=slow if name in computes.slow else [],
        )
        for computes in COMPUTES
        if having(computes)
        for name, *values in parts(computes)
    ]


def each_variant(having, what=""):
    """A parameter for every entry that has something, with one of its variants; `what` tells it
    from others of the variant where that is slow."""
    cases = each(having, lambda computes: [(f"{name}{what}", name) for name in computes.variants])
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
    output, *gradients = computes.outcome(inputs, variant, options)
    wanted = exact(inputs, variant, options)
    assert output.shape == (call.batch, call.heads, call.query_length, call.value_dim)
    assert output.dtype == computes.dtype
    assert_within(output, wanted[0], step * amplified)
    assert len(gradients) == (0 if computes.gradient is None else len(wanted) - 1)
    for found, one in zip(gradients, wanted[1:], strict=False):
        bound = computes.gradient(amplified.max().item())
        assert_within(found, one, bound * one.abs().max().clamp(min=1))


@pytest.mark.parametrize(
    ("computes", "variant", "call"),
    each(
        lambda computes: computes.statistics is not None,
        lambda computes: [(f"{name}-{call}", name, of) for name, call, of in computes.described],
    ),
)
def test_statistics_are_those_of_float64(computes, variant, call):
    """A number errs by at most 16 steps of rounding, as the rows do; a distance times the keys."""
    (query, key, _), options = computes.inputs(call)
    found = computes.statistics(query, key, variant, **options)
    wanted = dense_statistics(query, key, variant, options)
    step = (
        16 * torch.finfo(computes.dtype).eps * amplification(query, key, variant, options)[..., 0]
    )
    seen = (distances(query, key) >= 0).any(-1) | (not call.is_causal)
    for field in fields(found):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        assert one.shape == (call.batch, call.heads, call.query_length), field.name
        assert one.dtype == computes.dtype, field.name
        largest = call.key_length if field.name == "mean_distance" else other.abs().clamp(min=1)
        assert_within(*(x[..., seen] for x in (one, other, step * largest + 0 * other)))
        assert one.isfinite().all(), field.name
    for name in ("entropy", "largest", "first", "sum_squares", "row_sum"):
        assert (getattr(found, name)[..., ~seen] == 0).all(), name


@pytest.mark.usefixtures("poisoned_memory")
@each_variant(lambda computes: computes.poisoned)
def test_all_that_is_allocated_is_written(computes, variant):
    assert torch.empty(1).isnan()
    inputs, options = computes.inputs(computes.poisoned)
    for x in outcome(computes.attend, inputs, variant, options):
        assert x.isfinite().all()


@each_variant(lambda computes: computes.repeated, ", repeated")
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


def needs_order(variant):
    """Kernels of stick-breaking compute nothing else, and others none of it."""
    return stages(variant).needs_order


def each_type(variants=None):
    """A parameter for every entry, variant and type that adversarial rows are put into."""
    cases = each(
        lambda computes: computes.adversarial is not None,
        lambda computes: [
            (f"{variant}-{dtype}", variant, dtype)
            for variant in variants or computes.adversarial[0]
            for dtype in computes.adversarial[1]
            if needs_order(variant) in map(needs_order, computes.adversarial[0])
        ],
    )
    return pytest.mark.parametrize(("computes", "variant", "dtype"), cases)


def anew(computes, inputs, variant):
    """What weights that are computed again from the numbers of their row may be off by more."""
    if not computes.again:
        return 0.0
    steps = computes.again * torch.finfo(inputs[0].dtype).eps
    return steps * amplification(*inputs[:2], variant, {})


@pytest.mark.parametrize("case", ADVERSARIAL)
@each_type()
def test_nothing_is_lost_or_non_finite_on_adversarial_rows(computes, variant, dtype, case):
    """The last column of the values is 1, and that of the output the sum of every row."""
    rows = computes.adversarial[2]
    inputs = [x[:, :1, -rows:].to(computes.device, dtype) for x in ADVERSARIAL[case]()]
    inputs[2][..., -1] = 1
    output, *gradients = computes.outcome(inputs, variant, {})
    for x in (output, *gradients):
        assert x.isfinite().all()
    if stages(variant).sums_to_one:
        sums, bound = output[..., -1:], 2 * torch.finfo(dtype).eps + 1e-5
        assert_within(sums, torch.ones_like(sums), bound + anew(computes, inputs, variant))


@pytest.mark.parametrize("case", ADVERSARIAL)
@pytest.mark.parametrize(
    ("computes", "variant"),
    each(
        lambda computes: computes.statistics is not None and computes.adversarial is not None,
        lambda computes: [(name, name) for name in computes.adversarial[0]],
    ),
)
def test_statistics_of_adversarial_rows_are_finite_and_of_the_whole_row(computes, variant, case):
    rows = computes.adversarial[2]
    query, key, _ = (x[:, :1, -rows:].to(computes.device, SINGLE) for x in ADVERSARIAL[case]())
    found = computes.statistics(query, key, variant)
    for field in fields(found):
        assert getattr(found, field.name).isfinite().all(), field.name
    if stages(variant).sums_to_one:
        assert_within(found.row_sum, torch.ones_like(found.row_sum), 1e-5)


@each_type(["lssa", "lssar:p=1", "softplus", "softmax-ls"])
def test_keys_that_all_point_away_share_the_row_equally(computes, variant, dtype):
    """Every score is below −15: a softplus that is quick there would give 0."""
    length = min(1024, 4 * computes.adversarial[2])
    query, key, value = (x.to(computes.device, dtype) for x in away(length))
    mean = value.double().cumsum(2) / torch.arange(1, length + 1, device=computes.device)[:, None]
    largest = float(value.abs().max())
    bound = max(1e-5, torch.finfo(dtype).eps * largest)
    bound += largest * anew(computes, (query, key), variant)
    assert_within(computes.attend(query, key, value, variant), mean, bound)


@each_type(["lssar:p=15", "lssar:p=64", "softmax-ls-r:p=15"])
def test_a_peaked_row_does_not_overflow(computes, variant, dtype):
    query, key, value = (x.to(computes.device, dtype) for x in peaked(1024))
    query, largest = query[:, :, -1:], float(value.abs().max())
    bound = max(1e-5, torch.finfo(dtype).eps * largest)
    bound += largest * anew(computes, (query, key), variant)
    assert_within(computes.attend(query, key, value, variant), value[:, :, 512:513], bound)


each_strided = pytest.mark.parametrize(
    ("computes", "variant"),
    each(
        lambda computes: computes.strided,
        lambda computes: [(variant, variant) for variant in computes.strided[1]],
    ),
)


@each_strided
def test_inputs_may_lie_in_any_order_in_memory(computes, variant):
    plain, options = computes.inputs(computes.strided[0])
    expected = computes.outcome(plain, variant, options)
    layouts = {
        "by token": [x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain],
        "reversed": [x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0) for x in plain],
        "every other": [x.repeat_interleave(2, dim=2)[:, :, ::2] for x in plain],
    }
    for name, inputs in layouts.items():
        assert not inputs[0].is_contiguous(), name
        for one, other in zip(computes.outcome(inputs, variant, options), expected, strict=True):
            scale = other.abs().max().clamp(min=1)
            assert_within(one, other, 200 * torch.finfo(other.dtype).eps * scale)


@each_strided
def test_one_key_shared_without_memory_of_its_own(computes, variant):
    query, *others = computes.inputs(Call(6, 6, 16, 16))[0]
    key, value = (x[:, :1, :1].expand(-1, 2, 6, -1) for x in others)
    sums = value.new_ones(6, 1)
    if not stages(variant).sums_to_one:
        sums = computes.attend(query, key, torch.ones_like(value), variant)
    torch.testing.assert_close(computes.attend(query, key, value, variant), value * sums)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("computes", "variant", "broken"),
    each(
        lambda computes: computes.nonfinite,
        lambda computes: [
            (f"{variant}-{broken}", variant, broken)
            for variant in computes.nonfinite[1]
            for broken in computes.nonfinite[2]
        ],
    ),
)
def test_what_is_not_finite_shows_where_it_is_visible_and_nowhere_else(
    computes, variant, broken, bad
):
    call, place = computes.nonfinite[0], 21
    inputs, options = computes.inputs(call)
    inputs[("query", "key", "value").index(broken)][:, :, place] = bad
    finite = computes.attend(*inputs, variant, **options).isfinite().all(-1).all(1).all(0)
    row = torch.arange(call.query_length, device=finite.device)
    reached = row == place
    if broken != "query":
        reached = (row >= place) & (row < place + (call.window or call.query_length))
    if broken == "key" and needs_order(variant):
        reached &= row != place  # its own key has no share: it takes what is left
    assert finite[~reached].all()
    if torch.tensor(bad).isnan() or stages(variant).cosine:
        assert not finite[reached].any()
    if computes.statistics is not None and broken != "value":
        described = computes.statistics(*inputs[:2], variant, **options)
        assert torch.equal(described.row_sum.isfinite()[0, 0], finite)
        assert torch.equal(described.entropy.isfinite()[0, 0], finite)


@pytest.mark.parametrize(
    ("computes", "change", "error", "words"),
    each(
        lambda computes: computes.refuses,
        lambda computes: [(name, *refusal) for name, refusal in computes.refuses.items()],
    ),
)
def test_an_error_names_the_argument_its_value_and_what_is_legal(computes, change, error, words):
    arguments = {name: of(2, 4, 6, 8) for name in ("query", "key", "value")}
    with refused(error, words):
        computes.attend(**{**arguments, "variant": "softmax", **change})
