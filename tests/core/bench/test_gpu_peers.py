"""What a GPU benchmark compares: every peer computes what its name says, gradients included."""

import math
from functools import partial

import pytest
import torch
from strategies import assert_within
from torch.nn.attention import flex_attention as flex_module

from freeatten_core import Variant
from freeatten_core.bench import gpu_peers
from freeatten_core.bench.gpu_peers import BASELINE, GROUPS, peers
from freeatten_core.ops.definitions import staged

CPU = torch.device("cpu")
LENGTH = 130
"""Not a multiple of FlexAttention's blocks, and more than one."""
slow = [pytest.mark.slow]
BOUND = 3e-5
"""Of float32 forms against float64, with the power 15 and gradients of both norms."""


@pytest.fixture
def on_cpu(monkeypatch):
    """FlexAttention refuses gradients on a CPU, where only its eager form has them."""
    monkeypatch.setattr(flex_module, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def tensors(length=LENGTH, dim=32):
    draw = torch.Generator().manual_seed(3)
    return [torch.randn((2, 2, length, dim), generator=draw) for _ in range(4)]


def results(forward, tensors, dtype=torch.float32):
    """Output and gradients of query, key and value."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors[:3]]
    output = forward(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, tensors[3].to(dtype))]


def named(text, groups=(), length=LENGTH):
    return peers(Variant.parse_list(text), groups, length, CPU)


def test_the_baseline_comes_first_and_the_variants_are_always_there():
    assert list(named("lssar:p=3,softmax")) == [BASELINE, "lssar:p=3", "softmax"]
    assert BASELINE == "sdpa flash"


def test_groups_add_their_peers():
    assert list(named("lssar:p=3,lssa,relu", GROUPS)) == [
        "sdpa flash",
        "sdpa cudnn",
        "lssar:p=3",
        "lssa",
        "relu",
        "lssar:p=3 flex",
        "lssa flex",
        "lssar:p=3 compiled",
        "lssar:p=3 naive",
    ]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(
    ("length", "text"),
    [
        pytest.param(length, text, marks=[] if text == always or length == LENGTH else slow)
        for length, always in ((1, "lssa"), (3, "lssar:p=15"), (4, "lssar:p=15"), (LENGTH, ""))
        for text in ("lssa", "lssar:p=1", "lssar:p=3", "lssar:p=15")
    ],
)
def test_flex_forms_are_the_variant_with_its_gradients(text, length):
    """Each is compiled, for seconds: of lengths around the first rows, which have no offset, one
    variant each always runs."""
    peer = named(text, ("flex",), length)[f"{text} flex"]
    given = tensors(length)
    expected = results(partial(staged.reference_attention, variant=text), given, torch.float64)
    for found, wanted in zip(results(peer.forward, given), expected, strict=True):
        assert_within(found, wanted, BOUND * max(1.0, float(wanted.abs().max())))


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("form", ["compiled", "naive"])
def test_dense_forms_are_the_variant_with_its_gradients(form):
    peer = named("lssar:p=15", (form,))[f"lssar:p=15 {form}"]
    given = tensors()
    expected = results(
        partial(staged.reference_attention, variant="lssar:p=15"), given, torch.float64
    )
    for found, wanted in zip(results(peer.forward, given), expected, strict=True):
        assert_within(found, wanted, BOUND * max(1.0, float(wanted.abs().max())))


def test_the_baseline_is_softmax():
    query, key, value, _ = tensors()
    found = named("lssa")[BASELINE].forward(query, key, value)
    expected = staged.reference_attention(query.double(), key.double(), value.double(), "softmax")
    assert_within(found, expected, 1e-5)


@pytest.mark.parametrize("text", ["softmax", "softmax-ls", "softmax-r:p=15", "relu", "lssa-count"])
def test_other_variants_have_no_flex_form(text):
    assert gpu_peers.flex_form(Variant.parse(text)) is None


def test_compiled_peers_are_one_graph_for_one_shape(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda form, **options: asked.append(options) or form)
    named("lssar:p=15,lssa", ("flex", "compiled"))
    assert asked == [{"dynamic": False, "fullgraph": True}] * 3


def test_the_row_scale_is_on_the_side_of_the_query():
    query, key, _, _ = tensors()
    scaled_query, unit_key = gpu_peers.scaled_directions(query, key)
    torch.testing.assert_close(unit_key.norm(dim=-1), torch.ones(2, 2, LENGTH))
    scale = math.log(32) * torch.arange(1, LENGTH + 1).log()
    torch.testing.assert_close(scaled_query.norm(dim=-1), scale.expand(2, 2, LENGTH))
    low, _ = gpu_peers.scaled_directions(query.bfloat16(), key.bfloat16())
    assert low.dtype == torch.bfloat16
