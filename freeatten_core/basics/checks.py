"""Checks of what a caller passes; what is wrong is a sentence with the argument and its value."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

from .errors import UsageError

__all__ = [
    "check_each_positive",
    "check_flag",
    "check_list",
    "check_positive",
    "check_range",
    "check_share",
    "check_whole",
    "described",
    "parse_counts",
    "whole",
]


def whole(value: Any) -> int:
    """A whole number as Python's own, whatever library it is of.

    Raises:
        TypeError: it is none; true and false are none either, NumPy's and PyTorch's included.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        raise TypeError
    return operator.index(value)


def check_whole(name: str, value: int, low: int, high: int | None) -> int:
    """A whole number from low to high; without an upper bound where high is None.

    Raises:
        UsageError: not whole, or outside.
    """
    legal = f"at least {low}" if high is None else f"from {low} to {high}"
    try:
        value = whole(value)
    except TypeError:
        raise UsageError(f"{name} is {value!r}; it must be a whole number {legal}") from None
    if value < low or (high is not None and value > high):
        raise UsageError(f"{name} is {value}; it must be {legal}")
    return value


def check_share(name: str, value: float) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: no number, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise UsageError(f"{name} is {value!r}; it must be from 0 to 1")
    return float(value)


def check_flag(name: str, value: bool) -> bool:
    """True or False.

    Raises:
        UsageError: anything else; a word such as 'no' would count as true.
    """
    kind = type(value)
    # NumPy's by its name, for the operator alone, as a kernel, does without NumPy
    if kind is not bool and (kind.__module__, kind.__name__.rstrip("_")) != ("numpy", "bool"):
        raise UsageError(f"{name} is {value!r}; it must be True or False")
    return bool(value)


def check_list(name: str, values: Any, such_as: str) -> list[Any]:
    """The items of a list, tuple, range, array or tensor, at least one.

    Raises:
        UsageError: a string, one value, or what can be read only once or has no order.
    """
    ordered = isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray)
    ordered = ordered or getattr(values, "ndim", 0) > 0
    if not ordered:
        raise UsageError(f"{name} is {described(values)}; it must be a list, such as {such_as}")
    if not len(values):
        raise UsageError(f"{name} is empty; give at least one, such as {such_as}")
    return list(values)


def described(value: object) -> str:
    """A value in a sentence: as written where that is short, else its type."""
    shown = repr(value)
    return shown if len(shown) <= 40 and "\n" not in shown else f"a {type(value).__name__}"


def check_range(name: str, start: int, stop: int, length: int) -> tuple[int, int]:
    """start and stop as whole numbers with `0 <= start < stop <= length`.

    Raises:
        UsageError: not whole, empty, reversed or outside.
    """
    legal = f"it must be start:stop in whole numbers with 0 <= start < stop <= {length}"
    shown = f"the {name} range is {start}:{stop}"
    try:
        start, stop = whole(start), whole(stop)
    except TypeError:
        raise UsageError(f"{shown}; {legal}") from None
    if start == stop:
        raise UsageError(f"{shown}, which is empty; {legal}")
    if start > stop:
        raise UsageError(f"{shown}, which is reversed; {legal}")
    if start < 0 or stop > length:
        raise UsageError(f"{shown}, which is outside; {legal}")
    return start, stop


def parse_counts(text: str, option: str = "lengths") -> tuple[int, ...]:
    """`2048,8192` as numbers, each once.

    Raises:
        UsageError: something else.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        if not (entry.isascii() and entry.isdigit()):
            raise UsageError(
                f"{option} holds {entry!r}; give whole numbers with commas, such as 2048,8192"
            )
    return tuple(dict.fromkeys(map(int, entries)))


def check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be at least 1")


def check_each_positive(name: str, values: Sequence[int], *, such_as: int) -> None:
    for value in check_list(name, values, f"[{such_as}]"):
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} holds {value!r}; every one must be a whole number")
        if value < 1:
            raise UsageError(f"{name} holds {value}; every one must be at least 1")
