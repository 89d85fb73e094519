"""Triton's interpreter in half the time: the same kernels, with the same checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

EXACT = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


@contextmanager
def quickened() -> Iterator[None]:
    """While it lasts, the language is patched once a launch, and whole numbers checked by NumPy."""
    interpreter = import_module("triton.runtime.interpreter")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", _patched_once(interpreter._patch_lang))
        sums = interpreter.interpreter_semantic
        patches.setattr(sums, "binary_op_sanitize_overflow_impl", _refuse_overflow)
        yield


def _patched_once(patch: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The interpreter patches its language wherever one function calls another, a third of its
    time; after the first time in a launch that changes nothing."""
    language = import_module("triton.language")
    patched: set[str] = set()

    @cache
    def needed(function: Any) -> set[str]:
        there = function.__globals__.values()
        return {one.__name__ for one in (language, language.core) if any(x is one for x in there)}

    def patch_once(function: Any) -> Any:
        if patched and needed(function) <= patched:
            return None  # of a call within a launch, which restores all at its end
        scope = patch(function)
        if not patched:
            scope.restore = lambda restore=scope.restore: (patched.clear(), restore())
        patched.update(needed(function))
        return scope

    return patch_once


def _refuse_overflow(left: Any, right: Any, operation: Callable[..., Any]) -> None:
    """The interpreter's check of every sum and product, which it writes as ten operations more."""
    kind = left.type.scalar
    if kind.int_bitwidth >= 64:
        return
    exact = EXACT[operation.__name__](*(x.handle.data.astype(np.int64) for x in (left, right)))
    fits = kind.get_int_min_value() <= exact.min() and exact.max() <= kind.get_int_max_value()
    assert fits, f"{kind} overflow in {operation.__name__}"
