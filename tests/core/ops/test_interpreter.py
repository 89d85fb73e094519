"""What Triton's interpreter checks it checks in these tests too, which make it quicker."""

import os
from importlib import import_module

import pytest
import torch
from needs_triton import require_kernels

require_kernels()
triton = import_module("triton")
tl = triton.language

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("a GPU compiles the kernels, which no interpreter checks", allow_module_level=True)


@triton.jit
def times(values, by):
    return values * by


@triton.jit
def kernel(pointer, by, length: tl.constexpr):
    place = pointer + tl.arange(0, length)
    tl.store(place, times(tl.load(place), by) + by - 1)


@pytest.mark.parametrize("by", [3, -3])
def test_whole_numbers_that_fit_are_those_of_torch(by):
    values = torch.tensor([1, -5, 7, 2**29], dtype=torch.int32)
    wanted = values * by + by - 1
    kernel[(1,)](values, by, 4)
    assert torch.equal(values, wanted)


@pytest.mark.parametrize("value", [2**30, -(2**30)])
def test_a_whole_number_that_overflows_is_refused(value):
    values = torch.tensor([1, 2, 3, value], dtype=torch.int32)
    with pytest.raises(triton.runtime.interpreter.InterpreterError, match="overflow"):
        kernel[(1,)](values, 3, 4)
