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

LARGEST_INT = 2**31 - 1


def _is_direct() -> bool:
    at_nvidia = torch.version.cuda is not None
    return at_nvidia and not INTERPRETED.value and triton.__version__.startswith(DIRECT)


class Compiled:
    """A kernel with what is compiled in."""

    def __init__(self, kernel: Any, constants: dict[str, Any], options: dict[str, Any]) -> None:
        """constants: the kernel's, by name; options: how it runs, as Triton names them."""
        self._kernel = kernel
        self._given = constants | options
        self._constants = tuple(constants.get(name) for name in kernel.arg_names)
        self._found: dict[Hashable, Any] = {}
        self._direct = _is_direct()

    def start(self, programs: int, *arguments: Tensor | float) -> None:
        """Start so many programs on the current device; arguments in the kernel's order."""
        if not self._direct:
            self._kernel[(programs,)](*arguments, **self._given)
            return
        kind = torch.cuda.current_device(), *map(_kind, arguments)
        code = self._found.get(kind)
        if code is None:
            self._found[kind] = self._kernel[(programs,)](*arguments, **self._given)
        else:
            code[(programs, 1, 1)](*arguments, *self._constants[len(arguments) :])


def _kind(argument: Tensor | float) -> Hashable:
    """What Triton's code for an argument depends on: the type, and whether it is 1 or divides by
    16, where a tensor begins or a whole number itself."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, int):
        return argument == 1, argument % 16 == 0, -LARGEST_INT <= argument <= LARGEST_INT
    return float


_known: dict[Hashable, Compiled] = {}


def compiled_for(key: Hashable, make: Callable[[], Compiled]) -> Compiled:
    """What was made for a key, which says all that is compiled in."""
    found = _known.get(key)
    if found is None:
        if len(_known) >= MOST:
            _known.clear()
        found = _known[key] = make()
    return found
