"""What code around the operator may do to it, as to PyTorch's own attention."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from battery import DEVICE, FAMILIES
from bounds import ended
from needs_triton import require_triton
from strategies import Call, stages
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from freeatten_core import attention, attention_weights, row_statistics
from freeatten_core.ops import registered
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import Familiar, ScoreTerms
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import familiar_attention
from freeatten_core.positions.rope import Rope

HALF, SINGLE, WIDE = torch.bfloat16, torch.float32, torch.float64
CALL = Call(9, 13, 16, 8, heads=4, groups=2)
LEARNED = {"head_scale": True, "distance_slope": True, "distance_bias": 5}
TERMS = Call(9, 13, 16, 8, heads=4, groups=2, **LEARNED)
each_family = pytest.mark.parametrize("variant", FAMILIES)


def leaves(call=CALL, dtype=WIDE, seed=0):
    return [x.requires_grad_() for x in call.tensors(dtype, seed)]


def gradients(output, inputs):
    draw = torch.Generator().manual_seed(1)
    mixture = torch.randn(output.shape, generator=draw, dtype=WIDE).to(output)
    return torch.autograd.grad(output, inputs, mixture)


# Autocast


@pytest.mark.parametrize("types", [(SINGLE, SINGLE, HALF), (SINGLE, HALF, torch.float16)], ids=str)
@pytest.mark.parametrize("dtype", [HALF, torch.float16], ids=str)
@each_family
def test_autocast_casts_mixed_types_to_its_own(variant, dtype, types):
    inputs = [x.to(t).requires_grad_() for x, t in zip(CALL.tensors(SINGLE), types, strict=True)]
    with torch.autocast("cpu", dtype):
        output = attention(*inputs, variant, **CALL.options)
    expected = attention(*(x.to(dtype) for x in inputs), variant, **CALL.options)
    assert output.dtype == dtype
    assert torch.equal(output, expected)
    for found, wanted, given in zip(
        gradients(output, inputs), gradients(expected, inputs), types, strict=True
    ):
        assert found.dtype == given
        assert torch.equal(found, wanted)


def test_autocast_leaves_float64_as_it_is():
    inputs = leaves()
    with torch.autocast("cpu", HALF):
        output = attention(*inputs, "lssar:p=3", **CALL.options)
    assert torch.equal(output, attention(*inputs, "lssar:p=3", **CALL.options))


def test_autocast_reaches_far_keys_made_familiar():
    query, key, value = Call(30, 30).tensors(SINGLE)
    familiar = Familiar(Rope(query.shape[-1], 10_000.0, 16), rotation=True)
    with torch.autocast("cpu", HALF):
        output = familiar_attention(query, key, value.to(HALF), "softmax", familiar)
    narrow = (x.to(HALF) for x in (query, key, value))
    assert torch.equal(output, familiar_attention(*narrow, "softmax", familiar))


def test_mixed_types_without_autocast_are_refused():
    query, key, value = CALL.tensors(SINGLE)
    with pytest.raises(TypeError, match=r"value is torch\.bfloat16, query is torch\.float32"):
        attention(query, key, value.to(HALF), **CALL.options)


# In place


@each_family
def test_the_output_can_be_changed_in_place(variant):
    inputs = leaves()
    changed = attention(*inputs, variant, **CALL.options)
    changed.mul_(3).add_(1)
    apart = attention(*inputs, variant, **CALL.options) * 3 + 1
    assert torch.equal(changed, apart)
    for one, other in zip(gradients(changed, inputs), gradients(apart, inputs), strict=True):
        assert torch.equal(one, other)


# torch.func


@each_family
def test_vmap_over_samples_is_one_sample_after_another(variant):
    inputs = TERMS.tensors()

    def sample(*tensors):
        return attention(*(x[None] for x in tensors), variant, **TERMS.options)[0]

    mapped = torch.vmap(sample)(*inputs)
    one_by_one = torch.stack([sample(*each) for each in zip(*inputs, strict=True)])
    torch.testing.assert_close(mapped, one_by_one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attend", [attention, staged.reference_attention])
@pytest.mark.parametrize("variant", ["entmax15", "softpick", "stick-breaking"])
def test_vmap_maps_weights_that_need_their_whole_row_and_gradients(variant, attend):
    """Those of entmax by a loop that ends when it is done; under vmap there is no one to ask."""
    inputs = Call(9, 13, 16, 8, batch=3).tensors()

    def loss(*tensors):
        return attend(*(x[None] for x in tensors), variant).square().sum()

    per_sample = torch.func.grad_and_value(loss, (0, 1, 2))
    mapped = torch.vmap(per_sample)(*inputs)
    each = [per_sample(*sample) for sample in zip(*inputs, strict=True)]
    for at in range(3):
        wanted = torch.stack([grads[at] for grads, _ in each])
        torch.testing.assert_close(mapped[0][at], wanted, rtol=1e-12, atol=1e-12)
    wanted = torch.stack([value for _, value in each])
    torch.testing.assert_close(mapped[1], wanted, rtol=1e-12, atol=1e-12)


@each_family
def test_vmap_takes_any_dimension_of_any_argument(variant):
    query, key, value = TERMS.tensors()
    names = tuple(LEARNED)
    if stages(variant).can_forget:
        names = ScoreTerms._fields
    all_terms = replace(TERMS, decay=3.0).options
    options = all_terms | dict.fromkeys(ScoreTerms._fields)
    terms = [torch.stack([x, 2 * x, x / 2], dim=-1) for x in map(all_terms.get, names)]
    queries = torch.stack([query, -query, 2 * query], dim=2)

    def call(query, *terms):
        learned = dict(zip(names, terms, strict=True))
        return attention(query, key, value, variant, **options | learned)

    in_dims = (2, *(-1 for _ in terms))
    mapped = torch.vmap(call, in_dims=in_dims, out_dims=1)(queries, *terms)
    each = [call(queries[:, :, at], *(x[..., at] for x in terms)) for at in range(3)]
    torch.testing.assert_close(mapped, torch.stack(each, 1), rtol=1e-12, atol=1e-12)


@each_family
def test_gradients_a_sample_are_those_of_every_sample_alone(variant):
    inputs = TERMS.tensors()
    names = tuple(LEARNED)
    terms = [TERMS.options[name] for name in names]

    def loss(*tensors):
        learned = dict(zip(names, tensors[3:], strict=True))
        options = TERMS.options | learned
        return attention(*(x[None] for x in tensors[:3]), variant, **options).square().sum()

    wanted = tuple(range(6))
    grad = torch.func.grad(loss, argnums=wanted)
    mapped = torch.vmap(grad, in_dims=(0, 0, 0, None, None, None))(*inputs, *terms)
    alone = [grad(*sample, *terms) for sample in zip(*inputs, strict=True)]
    for found, each in zip(mapped, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(each), rtol=1e-10, atol=1e-10)
    expected = [x.detach().requires_grad_() for x in (*(y[0] for y in inputs), *terms)]
    learned = dict(zip(names, expected[3:], strict=True))
    output = staged.reference_attention(
        *(x[None] for x in expected[:3]), variant, **TERMS.options | learned
    )
    for found, each in zip(
        mapped, torch.autograd.grad(output.square().sum(), expected), strict=True
    ):
        torch.testing.assert_close(found[0], each, rtol=1e-9, atol=1e-9)


def test_a_jacobian_is_that_of_the_reference():
    inputs = Call(4, 4, 3, 2, batch=1, heads=1).tensors()
    found = torch.func.jacrev(lambda x: attention(x, *inputs[1:], "lssar:p=3"))(inputs[0])
    wanted = torch.autograd.functional.jacobian(
        lambda x: staged.reference_attention(x, *inputs[1:], "lssar:p=3"), inputs[0]
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_gradients_of_gradients_are_refused():
    inputs = leaves()
    loss = attention(*inputs, "lssa", **CALL.options).square().sum()
    (grad,) = torch.autograd.grad(loss, inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="trying to differentiate twice"):
        grad.sum().backward()


# Sizes and numbers


@each_family
def test_an_empty_batch_gives_an_empty_result(variant):
    inputs = [x[:0].detach().requires_grad_() for x in TERMS.tensors()]
    number = TERMS.options["head_scale"].clone().requires_grad_()
    options = TERMS.options | {"head_scale": number}
    output = attention(*inputs, variant, **options)
    assert output.shape == (0, 4, 9, 8)
    *of_inputs, of_number = torch.autograd.grad(output.sum(), [*inputs, number])
    assert [x.shape for x in of_inputs] == [x.shape for x in inputs]
    assert not of_number.any()
    assert attention_weights(*inputs[:2], variant, **options).shape == (0, 4, 9, 13)
    assert row_statistics(*inputs[:2], variant, **options).entropy.shape == (0, 4, 9)


def test_an_empty_length_is_refused():
    query, key, value = CALL.tensors()
    with pytest.raises(ValueError, match="every size but the batch must be at least 1"):
        attention(query[:, :, :0], key, value, **CALL.options)


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8, torch.tensor])
def test_whole_numbers_of_numpy_are_whole_numbers(whole):
    inputs = Call(9, 9).tensors()
    found = attention(*inputs, "lssar:p=3", window=whole(4))
    assert torch.equal(found, attention(*inputs, "lssar:p=3", window=4))


@pytest.mark.parametrize("window", [np.float64(4), np.True_, True, torch.tensor(True), "4", 4.0])
def test_what_is_no_whole_number_is_refused(window):
    with pytest.raises(TypeError, match=r"window is .*; it must be a whole number, at least 1"):
        attention(*Call(9, 9).tensors(), window=window)


# What PyTorch checks of an operator


@pytest.fixture(params=["panels", "fused"])
def back_end(request):
    if request.param == "fused":
        require_triton()
        for name in ("small_tiles", "quiet_numpy"):
            request.getfixturevalue(name)
    return request.param


def operands(back_end, *, learned):
    call = Call(9, 9, 16, 16, 1, 2, **(LEARNED | {"decay": 3.0} if learned else {}))
    inputs = [x.to(DEVICE, SINGLE) for x in call.tensors(SINGLE)]
    terms = [
        None if call.options.get(name) is None else call.options[name].to(DEVICE, SINGLE)
        for name in ScoreTerms._fields
    ]
    softcap = None if back_end == "fused" else 2.0
    options = ("length-cosine", "softplus", "l1", 3, None, True, 7, softcap, back_end)
    return inputs, terms, options


@pytest.mark.parametrize(
    ("back_end", "learned"),
    [
        ("panels", False),
        ("panels", True),
        ("fused", True),
        # seconds of compiling: what is not given is the same for both back-ends
        pytest.param("fused", False, marks=pytest.mark.slow),
    ],
    indirect=["back_end"],
)
def test_the_operators_pass_opcheck(back_end, learned):
    inputs, terms, options = operands(back_end, learned=learned)
    wanted = [None if x is None else x.clone().requires_grad_() for x in (*inputs, *terms)]
    torch.library.opcheck(registered.attention_forward, (*wanted, *options))
    output, scalars = registered.attention_forward(*inputs, *terms, *options)
    torch.library.opcheck(
        registered.attention_backward,
        (output, *inputs, output, scalars, *terms, *options, learned),
    )


def as_projected(tensor):
    """The same numbers as a layer's projection has them: heads side by side in every token."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def of_every_other(tensor):
    """The same numbers in every other place of their memory."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def promised_of(operator, inputs):
    """Shape, strides and type of what an operator says to a compiler that it gives back."""
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) if isinstance(x, torch.Tensor) else x for x in inputs]
        return [(x.shape, x.stride(), x.dtype) for x in operator(*fakes)]


def given_by(operator, inputs):
    outputs = operator(*inputs)
    return outputs, [(x.shape, x.stride(), x.dtype) for x in outputs]


@pytest.mark.parametrize("laid_out", [torch.Tensor.contiguous, as_projected, of_every_other])
@pytest.mark.parametrize(
    ("dims", "dtype"), [((16, 16), SINGLE), ((32, 16), HALF), ((16, 24), SINGLE)], ids=str
)
def test_what_a_compiler_is_promised_is_what_it_gets(back_end, dims, dtype, laid_out):
    """In memory, too: of other strides than a compiler foresaw a view fails far behind the call."""
    _, terms, options = operands(back_end, learned=True)
    inputs = [laid_out(x.to(DEVICE, dtype)) for x in Call(9, 9, *dims, 1, 2).tensors(SINGLE)]
    wanted = (*inputs, *terms, *options)
    (output, scalars), got = given_by(registered.attention_forward, wanted)
    assert got == promised_of(registered.attention_forward, wanted)
    wanted = (laid_out(output), *inputs, output, scalars, *terms, *options, True)
    _, got = given_by(registered.attention_backward, wanted)
    assert got == promised_of(registered.attention_backward, wanted)


def test_compiled_once_for_every_length_to_the_same_values(back_end, monkeypatch):
    one = replace(choice.named(back_end), takes=lambda *_: True)
    monkeypatch.setattr(choice, "BACK_ENDS", (one,))
    torch.compiler.reset()
    graphs = []

    def counted(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(
        lambda *x: attention(*x, "lssar:p=3", window=6),
        fullgraph=True,
        backend=counted,
        dynamic=True,
    )
    for length in (9, 14, 20):
        inputs = [x.to(DEVICE) for x in leaves(Call(length, length, 16, 16, 1, 1), SINGLE)]
        output = compiled(*inputs)
        eager = attention(*inputs, "lssar:p=3", window=6)
        torch.testing.assert_close(output, eager, rtol=0, atol=0)
        for one, other in zip(gradients(output, inputs), gradients(eager, inputs), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), output, rtol=0, atol=0)
    graph, _ = graphs  # the second without gradients
    inner = [part.graph for part in graph.modules() if isinstance(part, torch.fx.GraphModule)]
    called = [str(node.target) for part in inner for node in part.nodes]
    assert called.count("freeatten.attention.default") == 1
    assert not any("bmm" in target for target in called)


def test_compiled_with_autograd_and_autocast_inside():
    torch.compiler.reset()
    query, key, value = leaves(Call(20, 20, 16, 16, 1, 2), SINGLE)

    def layer(query, key, value):
        with torch.autocast("cpu", HALF):
            output = attention(query, key, value.to(HALF), "lssa")
        output.mul_(2)
        return output.float().square().sum()

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for one, other in zip(
        torch.autograd.grad(compiled(query, key, value), (query, key, value)),
        torch.autograd.grad(layer(query, key, value), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_eager_calls_load_no_compiler():
    """Which takes seconds."""
    call = (
        "import sys, torch; from freeatten_core import attention\n"
        "inputs = [torch.ones(1, 2, 5, 4, requires_grad=True) for _ in range(3)]\n"
        "attention(*inputs, 'lssar:p=15').sum().backward()\n"
        "print([name for name in ('torch._dynamo', 'triton') if name in sys.modules])"
    )
    said = ended([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_wrong_call_is_told_when_it_is_compiled_too():
    torch.compiler.reset()
    query, key, value = CALL.tensors()
    compiled = torch.compile(lambda *x: attention(*x, "lssar"), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="key has 2 heads, query 4"):
        compiled(query, key, value)


# Calls that need not be an operator


@pytest.fixture
def operators(monkeypatch):
    """The names of the back-ends that the operator was called with."""
    told = []

    def attention_forward(*inputs):
        told.append(inputs[-1])
        return computed(*inputs)

    computed = registered.attention_forward
    monkeypatch.setattr(registered, "attention_forward", attention_forward)
    return told


class Told(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_without_a_gradient_to_come_no_operator_is_called(operators):
    inputs = leaves()
    wanted = attention(*inputs, "lssar:p=3", **CALL.options).detach()
    assert operators == ["panels"]
    with torch.no_grad():
        assert torch.equal(attention(*inputs, "lssar:p=3", **CALL.options), wanted)
    plain = [x.detach() for x in inputs]
    assert torch.equal(attention(*plain, "lssar:p=3", **CALL.options), wanted)
    assert operators == ["panels"]
    number = torch.ones(CALL.heads, dtype=WIDE, requires_grad=True)
    options = CALL.options | {"head_scale": number}
    assert attention(*plain, "lssar:p=3", **options).requires_grad


def test_what_follows_operators_sees_one():
    inputs, options = CALL.tensors(), CALL.options
    with Told() as told:
        attention(*inputs, "lssa", **options)
    assert told.names == ["freeatten.attention.default"]
    with torch.profiler.profile() as profiled:
        attention(*inputs, "lssa", **options)
    assert "freeatten::attention" in {each.key for each in profiled.key_averages()}
    meta = [x.to("meta") for x in inputs]
    assert attention(*meta, "lssa", **options).shape == (*inputs[0].shape[:3], 8)


def test_numbers_that_are_stored_with_the_other_sign_are_read_as_they_are():
    inputs = CALL.tensors()
    negative = torch.complex(inputs[0], -inputs[0]).conj().imag
    assert negative.is_neg()
    assert torch.equal(negative, inputs[0])
    found = attention(negative, *inputs[1:], "lssa", **CALL.options)
    assert torch.equal(found, attention(*inputs, "lssa", **CALL.options))
