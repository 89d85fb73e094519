"""The kernel for capability 9.0: which calls have it, what it leaves to others, and what it gives
on such a GPU; see the battery's "hopper" for the values of all."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from fused_calls import fused, has_hopper
from needs_triton import require_kernels
from strategies import Call

from freeatten_core.ops.call import check
from freeatten_core.ops.definitions import staged

require_kernels()
launch = import_module("freeatten_core.ops.backends.fused.launch")
fast_launch = import_module("freeatten_core.ops.backends.fused.fast_launch")
fast_forward = import_module("freeatten_core.ops.backends.fused.fast_forward")
hopper_launch = import_module("freeatten_core.ops.backends.fused.hopper_launch")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("quiet_numpy", "short_calls")
BLOCKS = Call(256, 256, 64, 64, batch=2, heads=4, groups=2)
SHORTEST = dict(hopper_launch.TOKENS)
HAS_KERNEL = DEVICE == "cuda" and has_hopper()
"""Of these tests' machine, whether or not calls of users have it there."""


def called(inputs, is_causal=True):
    problem = check(*inputs, "lssar:p=15", is_causal=is_causal, enable_gqa=True)
    return launch.Call(problem, *inputs)


def tensors_of(call):
    return [x.to(DEVICE) for x in call.tensors(torch.bfloat16)]


@pytest.fixture
def another_machine():
    """What was found of this one is forgotten."""
    hopper_launch.is_proven.cache_clear()
    yield
    hopper_launch.is_proven.cache_clear()


@pytest.fixture
def short_calls(monkeypatch):
    monkeypatch.setattr(hopper_launch, "TOKENS", {64: 1, 128: 1})


@pytest.fixture
def a_hopper(monkeypatch):
    """A GPU and a version of Triton with which the kernel was tested."""
    monkeypatch.setattr(hopper_launch, "is_proven", lambda _: True)


@pytest.mark.usefixtures("another_machine")
@pytest.mark.parametrize(
    ("version", "capability", "cuda", "proven"),
    [
        ("3.6.0", (9, 0), "13.0", True),
        ("3.6.1", (9, 0), "12.8", True),
        ("3.7.0", (9, 0), "13.0", False),
        ("3.60.0", (9, 0), "13.0", False),
        ("3.6.0", (8, 0), "13.0", False),
        ("3.6.0", (10, 0), "13.0", False),
        ("3.6.0", (9, 0), None, False),
    ],
)
def test_it_is_for_the_gpus_and_versions_it_was_tested_with(
    version, capability, cuda, proven, monkeypatch
):
    monkeypatch.setattr(hopper_launch, "PROVEN", ("3.6.",))
    monkeypatch.setattr(hopper_launch.triton, "__version__", version)
    monkeypatch.setattr(hopper_launch.torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert hopper_launch.is_proven(0) is proven
    assert hopper_launch.state(0).startswith("on (" if proven else "off (")
    assert not hopper_launch.is_proven(-1)


@pytest.mark.usefixtures("another_machine")
def test_what_says_that_it_is_off_names_what_is_and_what_it_needs(monkeypatch):
    monkeypatch.setattr(hopper_launch, "PROVEN", ("3.6.",))
    monkeypatch.setattr(hopper_launch.triton, "__version__", "3.7.1")
    monkeypatch.setattr(hopper_launch.torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    said = hopper_launch.state(0)
    assert said == "off (tested with Triton 3.6 on capability 9.0; here 3.7.1 and 9.0)"


@pytest.mark.usefixtures("a_hopper")
@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"dim": 128, "value_dim": 128}, True),
        ({"query_length": 128, "key_length": 128}, True),
        ({"query_length": 255, "key_length": 255}, False),
        ({"query_length": 128}, False),
        ({"is_causal": False}, False),
        ({"dim": 60, "value_dim": 60}, False),
        ({"value_dim": 128}, False),
    ],
)
def test_it_is_for_whole_blocks(change, taken):
    call = replace(BLOCKS, **change)
    assert hopper_launch.takes(called(tensors_of(call), call.is_causal)) is taken


@pytest.mark.usefixtures("a_hopper")
def test_it_is_for_as_many_tokens_as_it_pays_for(monkeypatch):
    monkeypatch.setattr(hopper_launch, "TOKENS", {64: 384, 128: 256})
    for tokens, dim, taken in ((256, 64, False), (384, 64, True), (256, 128, True)):
        call = Call(tokens, tokens, dim, dim, batch=1, heads=1)
        assert hopper_launch.takes(called(tensors_of(call))) is taken


def test_without_it_no_call_has_it(monkeypatch):
    monkeypatch.setattr(hopper_launch, "is_proven", lambda _: False)
    monkeypatch.setattr(fast_launch, "TOKENS", 1)
    monkeypatch.setattr(hopper_launch, "compute_even", None)
    call = Call(128, 128, 64, 64, batch=1, heads=1)
    assert fused(*tensors_of(call), "lssar:p=15").isfinite().all()


LAYOUTS = {
    "in order": lambda x: x,
    "heads beside each other": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "part of a projection": lambda x: (
        x.transpose(1, 2).repeat(1, 1, 3, 1)[:, :, : x.shape[1]].transpose(1, 2)
    ),
    "every other token": lambda x: x.repeat_interleave(2, dim=2)[:, :, ::2],
    "tokens of another size": lambda x: torch.nn.functional.pad(x, (0, 4))[..., : x.shape[-1]],
    "contiguous, unaligned": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    "one head": lambda x: x[:, :1].expand(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_matrix_of_the_values_has_every_head_where_it_says(layout):
    query, key, value = tensors_of(BLOCKS)
    value = LAYOUTS[layout](value)
    matrix, batch, head, column = hopper_launch.matrix_of(called((query, key, value)))
    assert matrix.stride(1) == 1
    assert matrix.stride(0) * matrix.element_size() % 16 == 0
    assert matrix.data_ptr() % 16 == 0
    shares = layout in ("in order", "heads beside each other", "part of a projection")
    assert (matrix.data_ptr() == value.data_ptr()) is shares
    for b in range(value.shape[0]):
        for h in range(value.shape[1]):
            row, left = b * batch + h * head, h * column
            found = matrix[row : row + value.shape[2], left : left + value.shape[3]]
            assert torch.equal(found, value[b, h])


@pytest.mark.parametrize("change", [{}, {"dim": 128, "value_dim": 128}, {"heads": 4, "groups": 2}])
@pytest.mark.parametrize("variant", ["lssar:p=3", "lssar:p=15"])
def test_uneven_blocks_are_computed_from_what_the_first_sweep_found(change, variant, monkeypatch):
    """With the keys themselves, as the whole kernel computes them where it finds them uneven."""
    monkeypatch.setattr(fast_launch, "TOKENS", 1)
    call = replace(Call(200, 200, 64, 64, batch=1, heads=1), **change)
    inputs = tensors_of(call)
    problem = check(*inputs, variant, is_causal=True, enable_gqa=True)
    one = launch.Call(problem, *inputs)
    output, scalars = torch.zeros_like(inputs[0]), one.empty_rows(5).zero_()
    flags, rows = fast_launch.compute_most(one, output, scalars)
    wanted, known = output.clone(), scalars.clone()
    chosen = flags == 0
    chosen[:, 2] = False
    flags[chosen] = fast_forward.UNEVEN.value
    of_rows = chosen.repeat_interleave(rows, 1)[:, : call.query_length]
    output.view(one.pairs, call.query_length, -1)[of_rows] = math.nan
    scalars[4][of_rows] = math.nan
    fast_launch.compute_uneven(one, output, scalars, flags)
    assert not flags[chosen].any()
    exact = staged.reference_attention(
        *(x.double() for x in inputs), variant, enable_gqa=True
    ).view(one.pairs, call.query_length, -1)
    found, before = (x.view(exact.shape) for x in (output, wanted))
    assert torch.equal(found[~of_rows], before[~of_rows])
    assert torch.equal(scalars[:, ~of_rows], known[:, ~of_rows])
    apart = (found - exact)[of_rows].norm(dim=-1) / exact[of_rows].norm(dim=-1)
    assert apart.max() < 8e-3
    assert apart.square().mean().sqrt() < 2.3e-3
    for field in (0, 1, 3):  # the shift, the sum and the offset
        assert torch.equal(scalars[field, of_rows], known[field, of_rows])
    # keys that are not rounded: u_max may lie a little higher, and the weights with it
    torch.testing.assert_close(scalars[2, of_rows], known[2, of_rows], rtol=2e-3, atol=0)
    torch.testing.assert_close(scalars[4, of_rows], known[4, of_rows], rtol=0.06, atol=0)


def test_a_value_that_is_not_finite_leaves_an_uneven_block_to_the_exact_kernel(monkeypatch):
    monkeypatch.setattr(fast_launch, "TOKENS", 1)
    inputs = tensors_of(Call(128, 128, 64, 64, batch=1, heads=1))
    one = called(inputs)
    output, scalars = torch.empty_like(inputs[0]), one.empty_rows(5)
    flags, _ = fast_launch.compute_most(one, output, scalars)
    assert flags.tolist() == [[1, 0]]
    flags[0, 1] = fast_forward.UNEVEN.value
    inputs[2][:, :, 100, 3] = math.inf
    fast_launch.compute_uneven(called(inputs), output, scalars, flags)
    assert flags.tolist() == [[1, 1]]


# On a GPU


@pytest.fixture
def by_it(monkeypatch):
    """How often the kernel was started, on a GPU that has it."""
    started = []

    def compute_even(*call):
        started.append(call)
        computed(*call)

    computed = hopper_launch.compute_even
    monkeypatch.setattr(hopper_launch, "compute_even", compute_even)
    monkeypatch.setattr(hopper_launch, "is_proven", lambda _: True)
    return started


needs_it = pytest.mark.skipif(not HAS_KERNEL, reason="needs a GPU of capability 9.0, Triton 3.6")


@needs_it
@pytest.mark.parametrize("length", [2048, 3712])
@pytest.mark.parametrize(
    "layout", ["in order", "heads beside each other", "every other token", "contiguous, unaligned"]
)
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("variant", ["lssar:p=3", "lssar:p=8", "lssar:p=15"])
def test_long_calls_are_as_near_to_float64_as_promised(variant, dim, layout, length, by_it):
    call = Call(length, length, dim, dim, batch=2, heads=4, groups=2)
    inputs = [LAYOUTS[layout](x) for x in tensors_of(call)]
    output = fused(*inputs, variant, enable_gqa=True)
    assert torch.equal(output, fused(*inputs, variant, enable_gqa=True))
    assert len(by_it) == 2
    wide = [x.double() for x in inputs]
    wanted = staged.reference_attention(*wide, variant, enable_gqa=True)
    apart = (output - wanted).norm(dim=-1)
    assert apart.norm() <= 2.3e-3 * wanted.norm()
    assert (apart / wanted.norm(dim=-1)).max() <= 8e-3


@needs_it
@pytest.mark.parametrize(("dim", "length"), SHORTEST.items())
def test_the_shortest_calls_of_users(dim, length, by_it, monkeypatch):
    monkeypatch.setattr(hopper_launch, "TOKENS", SHORTEST)
    inputs = tensors_of(Call(length, length, dim, dim, batch=1, heads=1))
    output = fused(*inputs, "lssar:p=15")
    assert len(by_it) == 1
    wanted = staged.reference_attention(*(x.double() for x in inputs), "lssar:p=15")
    apart = (output - wanted).norm(dim=-1)
    assert apart.norm() <= 2.3e-3 * wanted.norm()
    assert (apart / wanted.norm(dim=-1)).max() <= 8e-3


@needs_it
@pytest.mark.parametrize("dim", [64, 128])
def test_uneven_and_level_blocks_are_as_without_it(dim, by_it, monkeypatch):
    """Queries along one number of the keys, keys that are equal in every other head."""
    found, rest = [], fast_launch.compute_uneven

    def compute_uneven(call, output, scalars, flags):
        found.append(flags.clone())
        rest(call, output, scalars, flags)

    monkeypatch.setattr(fast_launch, "compute_uneven", compute_uneven)
    query, key, value = tensors_of(Call(2048, 2048, dim, dim, batch=1, heads=4))
    query = 0.1 * query
    query[..., 0] += 3
    key[:, 1::2] = key[:, 1::2, :1]
    output = fused(query, key, value, "lssar:p=15")
    ((_, _, _, _, flags, _),) = by_it
    assert (flags[1::2] == 1).all()
    assert (found[0][0::2] == fast_forward.UNEVEN.value).any()
    monkeypatch.setattr(hopper_launch, "takes", lambda _: False)
    apart = (output.double() - fused(query, key, value, "lssar:p=15")).norm(dim=-1)
    assert (apart / output.double().norm(dim=-1)).max() <= 4e-3


@needs_it
def test_it_is_one_operator_of_a_compiler(by_it):
    from freeatten_core import attention

    inputs = tensors_of(Call(2048, 2048, 64, 64, batch=1, heads=2))
    compiled = torch.compile(lambda q, k, v: attention(q, k, v, "lssar:p=15"), fullgraph=True)
    assert torch.equal(compiled(*inputs), attention(*inputs, "lssar:p=15"))
    assert len(by_it) == 2


@needs_it
def test_it_passes_opcheck(by_it):
    """With gradients: what a compiler asks of an operator, by the kernel itself."""
    from freeatten_core.ops import registered

    inputs = [x.requires_grad_() for x in tensors_of(Call(2048, 2048, 64, 64, batch=1, heads=2))]
    stages = called(inputs).problem.variant
    chosen = stages.score, stages.positivity, stages.normalise, stages.sharpen, stages.scale
    options = (*[None] * 4, *chosen, True, None, None, "fused")
    torch.library.opcheck(registered.attention_forward, (*inputs, *options))
    assert by_it
