"""The fast sweeps of LSSAR's backward: over rows where softplus is the score itself, no others."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from battery import fused
from battery import outcome as forward_and_gradients
from needs_triton import require_kernels
from strategies import Call

from freeatten_core.ops.call import ScoreTerms, check
from freeatten_core.ops.definitions import staged

require_kernels()
launch = import_module("freeatten_core.ops.backends.fused.launch")
triton = import_module("triton")
fast_backward = import_module("freeatten_core.ops.backends.fused.fast_backward")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("quiet_numpy")
LENGTH, ROWS = (200, 130) if DEVICE == "cuda" else (140, 100)
"""The interpreter takes seconds for each block of rows."""
SQUARE = Call(LENGTH, LENGTH, 64, 64, batch=1, heads=1)
CALLS = {
    "square": SQUARE,
    "grouped queries": Call(ROWS, ROWS, 64, 64, batch=1, heads=2, groups=2),
    "longer cache": Call(70, 170, 64, 64, batch=1, heads=1),
    "not causal": Call(ROWS, 140, 64, 64, batch=1, heads=1, is_causal=False),
    "window": Call(LENGTH, LENGTH, 64, 64, batch=1, heads=1, window=LENGTH * 3 // 4),
    "heads of 128": Call(150, 150, 128, 128, batch=1, heads=1),
    "heads of 60": Call(150, 150, 60, 40, batch=1, heads=1),
    "head scale": replace(SQUARE, head_scale=True),
    "one query": Call(1, 60, 64, 64, batch=1, heads=1),
}
LEAST = Call(40, 60, 64, 64, batch=1, heads=1), f"lssar:p={launch.LEAST_POWER}"
"""With the lowest power that has the sweeps, whose weights next to the mean are the largest."""


def peaked(call):
    """Every query is near a key that it sees, so that its row rises far above its mean."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = call.tensors(torch.float32)
    near = key.repeat_interleave(call.groups, dim=1)[:, :, -call.query_length :]
    query = near + 0.5 * torch.randn(query.shape, generator=draw)
    inputs = [x.to(DEVICE, torch.bfloat16) for x in (query, key, value)]
    options = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in call.options.items()
    }
    return inputs, options


def errors(inputs, variant, options):
    """Of the gradients of query, key and value, relative to float64."""
    wide = [x.double() for x in inputs]
    found = forward_and_gradients(fused, inputs, variant, options)[1:4]
    wanted = forward_and_gradients(staged.reference_attention, wide, variant, options)[1:4]
    return [
        ((one.double() - other).norm() / other.norm()).item()
        for one, other in zip(found, wanted, strict=True)
    ]


@pytest.fixture(autouse=True)
def short_calls_too(monkeypatch):
    monkeypatch.setattr(launch, "FAST_KEYS", dict.fromkeys(launch.FAST_KEYS, 1))


@pytest.fixture
def curved(monkeypatch):
    """The flags of every backward, in order: which blocks of rows were not swept fast."""
    found = []

    def backward_query(*call):
        *others, flags = computed(*call)
        found.append(flags.clone())
        return *others, flags

    computed = launch.backward_query
    monkeypatch.setattr(launch, "backward_query", backward_query)
    return found


@pytest.mark.parametrize(
    ("call", "variant"),
    [*((call, "lssar:p=15") for call in CALLS.values()), LEAST],
    ids=[*CALLS, "least power"],
)
def test_gradients_are_as_near_to_float64_as_with_softplus_itself(
    call, variant, curved, monkeypatch
):
    inputs, options = peaked(call)
    fast = errors(inputs, variant, options)
    assert not curved[0].all()
    monkeypatch.setattr(launch, "FAST_KEYS", {})
    slow = errors(inputs, variant, options)
    for one, other in zip(fast, slow, strict=True):
        assert one <= max(1.2 * other, 4e-3)


def test_the_gradient_of_a_head_scale_is_that_of_float64():
    call = replace(SQUARE, heads=2, head_scale=True)
    inputs, options = peaked(call)
    wide = [x.double() for x in inputs]
    *_, found = forward_and_gradients(fused, inputs, "lssar:p=15", options)
    *_, wanted = forward_and_gradients(staged.reference_attention, wide, "lssar:p=15", options)
    assert torch.allclose(found.double(), wanted.double(), atol=2e-2)


def test_rows_near_their_mean_are_swept_with_softplus_itself(curved):
    """Random rows of a few keys are; so are those without an offset, in the first block."""
    call = Call(130, 130, 64, 64, batch=1, heads=1)
    inputs = [x.to(DEVICE, torch.bfloat16) for x in call.tensors(torch.float32)]
    forward_and_gradients(fused, inputs, "lssar:p=15", {})
    assert curved[0].all()
    inputs, options = peaked(SQUARE)
    forward_and_gradients(fused, inputs, "lssar:p=15", options)
    assert curved[1].tolist() == [[1, *[0] * ((LENGTH - 1) // 64)]]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_number_that_is_none_reaches_the_gradients(which):
    inputs, options = peaked(SQUARE)
    inputs[which][:, :, 100, 3] = float("nan")
    _, query, *_ = forward_and_gradients(fused, inputs, "lssar:p=15", options)
    assert query[:, :, 100].isnan().any()
    if which != 2:
        assert query[:, :, :64].isfinite().all()


def test_the_same_bits_come_every_time():
    inputs, options = peaked(SQUARE)
    first, second = (forward_and_gradients(fused, inputs, "lssar:p=15", options) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "variant"),
    [
        ({}, "lssar:p=3"),
        ({}, "lssa"),
        ({"dim": 256}, "lssar:p=15"),
        ({"distance_slope": True}, "lssar:p=15"),
        ({"decay": 1.0}, "lssar:p=15"),
    ],
)
def test_other_calls_do_without(change, variant):
    call = replace(Call(20, 20, 64, 64, batch=1, heads=1), **change)
    inputs, options = peaked(call)
    terms = ScoreTerms(*(options[name] for name in ScoreTerms._fields))
    problem = check(*inputs, variant, is_causal=True, enable_gqa=False, terms=terms)
    assert not launch.Call(problem, *inputs, terms).fast
    for dim in (64, 128):
        plain, _ = peaked(replace(SQUARE, dim=dim))
        problem = check(*plain, "lssar:p=15", is_causal=True, enable_gqa=False)
        assert launch.Call(problem, *plain).fast


@triton.jit
def find(flags, found, blocks, rows: triton.language.constexpr):
    triton.language.store(found, fast_backward.straight_from(flags, blocks, rows))


@pytest.mark.parametrize(
    ("blocks", "flagged", "row"),
    [(1, [], 0), (5, [0, 2], 48), (300, [7, 200], 201 * 16), (128, [127], 2048)],
)
def test_straight_rows_begin_behind_the_last_block_that_is_not(blocks, flagged, row):
    flags = torch.zeros(blocks, dtype=torch.int8, device=DEVICE)
    flags[flagged] = 1
    found = torch.empty(1, dtype=torch.int32, device=DEVICE)
    find[(1,)](flags, found, blocks, rows=16)
    assert found.item() == row
