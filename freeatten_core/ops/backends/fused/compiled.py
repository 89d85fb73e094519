"""Kernels with what is compiled in, started at a fraction of what Triton takes for it.

Triton reads every argument of every start, those that are compiled in too, to find the code that it
compiled for such arguments: with sixty of them that takes longer than a short call computes. Here
the compiled ones are read once, and the others as far as the code depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
import triton
from torch import Tensor

from .tiles import INTERPRETED

__all__ = ["Compiled", "compiled_for"]

DIRECT = ("3.6.",)
"""Triton's minor versions with which what is compiled was started directly in the tests on a GPU;
every other starts it as ever. Its code takes all arguments, those compiled in at the end."""

MOST = 256
"""Kernels and sets of options that are remembered."""

MOST_NUMBERS = 4096
"""Sets of numbers that a kernel remembers to have been started with."""

LARGEST_INT = 2**31 - 1


def _is_direct() -> bool:
    at_nvidia = torch.version.cuda is not None
    return at_nvidia and not INTERPRETED.value and triton.__version__.startswith(DIRECT)


class Compiled:
    """A kernel with what is compiled in, for tensors of the same types every time."""

    def __init__(self, kernel: Any, constants: dict[str, Any], options: dict[str, Any]) -> None:
        """constants: the kernel's, by name; options: how it runs, as Triton names them."""
        self._kernel = kernel
        self._given = constants | options
        self._constants = tuple(constants[name] for name in kernel.arg_names if name in constants)
        self._code: dict[Hashable, Any] = {}
        self._started: dict[Hashable, Any] = {}
        self._direct = _is_direct()

    def start(self, programs: int, tensors: tuple[Tensor, ...], numbers: tuple[float, ...]) -> None:
        """Start so many programs on the current device, which the tensors are on.

        Args:
            tensors, numbers: the kernel's first arguments, in its order.
        """
        if not self._direct:
            self._kernel[(programs,)](*tensors, *numbers, **self._given)
            return
        device, odd = tensors[0].get_device(), 0
        for at, tensor in enumerate(tensors):
            if tensor.data_ptr() % 16:
                odd |= 1 << at
        code = self._started.get((device, odd, numbers))
        if code is None:
            kind = device, odd, *map(_kind, numbers)
            code = self._code.get(kind)
            if code is None:
                self._code[kind] = self._kernel[(programs,)](*tensors, *numbers, **self._given)
                return
            if len(self._started) >= MOST_NUMBERS:
                self._started.clear()
            self._started[device, odd, numbers] = code
        code[(programs, 1, 1)](*tensors, *numbers, *self._constants)


def _kind(number: float) -> Hashable:
    """What Triton's code for a number depends on: of a whole one, whether it is 1 or divides by
    16, and how many bits it needs."""
    if isinstance(number, int):
        return number == 1, number % 16 == 0, -LARGEST_INT <= number <= LARGEST_INT
    return float


_known: dict[Hashable, Compiled] = {}


def compiled_for(key: Hashable, make: Callable[[], Compiled]) -> Compiled:
    """What was made for a key, which says all that is compiled in and the types of tensors."""
    found = _known.get(key)
    if found is None:
        if len(_known) >= MOST:
            _known.clear()
        found = _known[key] = make()
    return found
