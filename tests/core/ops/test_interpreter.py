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


@triton.jit
def combine(output, left, right, rows: tl.constexpr, columns: tl.constexpr, number: tl.constexpr):
    """`left + right · number` of a column and a row."""
    row, column = tl.arange(0, rows)[:, None], tl.arange(0, columns)[None, :]
    found = tl.load(left + row) + tl.load(right + column) * number
    tl.store(output + row * columns + column, found)


NARROW = torch.tensor([1.0, 2.0**-10, -3.0, 2.0**-13]), torch.tensor([2.0**-11, 1.5])
WHOLE = torch.tensor([2**31 - 2, 5, -7, 2**24 + 1]), torch.tensor([1, -1])


@pytest.mark.parametrize("number", [1, 2.0])
@pytest.mark.parametrize(
    ("kinds", "values"),
    [
        ((torch.float32, torch.float32), NARROW),
        ((torch.float16, torch.float32), NARROW),
        ((torch.float16, torch.float16), NARROW),
        ((torch.float32, torch.float64), NARROW),
        ((torch.int32, torch.int32), WHOLE),
        ((torch.int32, torch.int64), WHOLE),
        ((torch.int64, torch.int8), WHOLE),
        ((torch.int32, torch.float32), WHOLE),
        ((torch.float64, torch.int32), WHOLE),
    ],
)
def test_types_and_shapes_are_combined_as_in_torch(kinds, values, number):
    left, right = (each.to(kind) for each, kind in zip(values, kinds, strict=True))
    wanted = left[:, None] + right[None] * number
    for _ in range(2):  # what it is converted to is known the second time
        found = torch.empty_like(wanted)
        combine[(1,)](found, left, right, 4, 2, number)
        assert torch.equal(found, wanted)


@triton.jit
def misfit(pointer, length: tl.constexpr, other: tl.constexpr):
    tl.store(pointer + tl.arange(0, length), tl.arange(0, length) + tl.arange(0, other))


def test_shapes_that_do_not_fit_are_refused():
    misfit[(1,)](torch.zeros(4, dtype=torch.int32), 4, 4)
    with pytest.raises(triton.runtime.interpreter.InterpreterError, match="incompatible dimension"):
        misfit[(1,)](torch.zeros(4, dtype=torch.int32), 4, 8)


@triton.jit
def shifted(pointer, length: tl.constexpr, number: tl.constexpr):
    place = pointer + tl.arange(0, length)
    tl.store(place, tl.load(place) + number)


def test_a_number_that_a_type_cannot_hold_is_refused_whatever_came_before():
    bytes_, words = (torch.zeros(4, dtype=kind) for kind in (torch.int8, torch.int32))
    for number in (1, 100):
        shifted[(1,)](bytes_, 4, number)
        shifted[(1,)](words, 4, number)
    assert words.tolist() == bytes_.tolist() == [101] * 4
    with pytest.raises(triton.runtime.interpreter.InterpreterError, match="out of range"):
        shifted[(1,)](bytes_, 4, 300)
    shifted[(1,)](words, 4, 300)
    assert words.tolist() == [401] * 4
