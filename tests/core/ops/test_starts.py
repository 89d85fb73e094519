"""What is started directly is what Triton would have started."""

from importlib import import_module

import pytest
import torch
from needs_triton import require_triton
from strategies import Call

from freeatten_core import attention

require_triton()
compiled = import_module("freeatten_core.ops.backends.fused.compiled")


class Kernel:
    """Stands for Triton's: it compiles at its first start, and says what was started."""

    arg_names = ("x", "n", "SIZE")

    def __init__(self):
        self.told = []

    def __getitem__(self, grid):
        def start(*arguments, **given):
            self.told.append(("kernel", grid, arguments, given))
            return Code(self.told)

        return start


class Code:
    def __init__(self, told):
        self.told = told

    def __getitem__(self, grid):
        return lambda *arguments: self.told.append(("code", grid, arguments))


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(compiled, "_is_direct", lambda: True)
    return Kernel()


def test_the_second_start_with_arguments_of_a_kind_goes_to_the_code(kernel):
    one = compiled.Compiled(kernel, {"SIZE": 8}, {"num_warps": 4})
    x = torch.zeros(64)
    for count in (48, 32, 32):
        one.start(3, (x,), (count,))
    assert kernel.told == [
        ("kernel", (3,), (x, 48), {"SIZE": 8, "num_warps": 4}),
        ("code", (3, 1, 1), (x, 32, 8)),
        ("code", (3, 1, 1), (x, 32, 8)),
    ]


@pytest.mark.parametrize(
    "others",
    [
        (torch.zeros(64), 47),
        (torch.zeros(64), 1),
        (torch.zeros(64), 2**31),
        (torch.zeros(64), 48.0),
        (torch.zeros(64)[1:], 48),
    ],
    ids=["not by 16", "one", "64 bits", "no whole number", "begins elsewhere"],
)
def test_arguments_that_other_code_is_compiled_for_go_to_triton(kernel, others):
    one = compiled.Compiled(kernel, {"SIZE": 8}, {})
    one.start(3, (torch.zeros(64),), (48,))
    one.start(3, others[:1], others[1:])
    assert [who for who, *_ in kernel.told] == ["kernel", "kernel"]


def test_another_version_of_triton_starts_it_as_ever(monkeypatch):
    monkeypatch.setattr(compiled.triton, "__version__", "99.0.1")
    kernel = Kernel()
    one = compiled.Compiled(kernel, {"SIZE": 8}, {})
    for _ in range(2):
        one.start(3, (torch.zeros(64),), (48,))
    assert [who for who, *_ in kernel.told] == ["kernel", "kernel"]


def test_of_numbers_no_more_are_remembered_than_there_is_room_for(kernel, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_NUMBERS", 2)
    one = compiled.Compiled(kernel, {"SIZE": 8}, {})
    for count in range(16, 16 * 20, 16):
        one.start(3, (torch.zeros(64),), (count,))
    assert len(one._started) <= 2
    assert [who for who, *_ in kernel.told] == ["kernel", *["code"] * 18]


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(compiled, "_known", {})
    made = [compiled.compiled_for(name, object) for name in range(compiled.MOST)]
    assert compiled.compiled_for(0, object) is made[0]
    compiled.compiled_for("one more", object)
    assert len(compiled._known) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("variant", ["softmax", "lssa", "lssar:p=15"])
@pytest.mark.parametrize("call", [Call(100, 100, 64, 64), Call(1, 3000, 64, 64)], ids=str)
def test_what_is_started_directly_gives_the_same_bits(variant, call, monkeypatch):
    inputs = [x.to("cuda", torch.bfloat16) for x in call.tensors(torch.float32)]
    others = [x.to("cuda", torch.bfloat16) for x in call.tensors(torch.float32, seed=1)]
    attention(*others, variant)
    direct = attention(*inputs, variant)
    monkeypatch.setattr(compiled, "_known", {})
    monkeypatch.setattr(compiled, "_is_direct", lambda: False)
    assert torch.equal(attention(*inputs, variant), direct)
