"""Triton's interpreter in half the time: the same kernels, with the same checks."""

from __future__ import annotations

import os
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
    """While it lasts, the language is patched once a launch, whole numbers are checked by NumPy,
    and what follows from a shape or a type is made once."""
    interpreter = import_module("triton.runtime.interpreter")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", _patched_once(interpreter._patch_lang))
        sums = interpreter.interpreter_semantic
        patches.setattr(sums, "binary_op_sanitize_overflow_impl", _refuse_overflow)
        patches.setattr(interpreter, "_get_np_dtype", _remembered(interpreter._get_np_dtype))
        if os.environ.get("TRITON_INTERPRET") == "1":
            _share_shapes(patches)
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


def _remembered(found: Callable[[Any], np.dtype]) -> Callable[[Any], np.dtype]:
    """The interpreter looks types up in a table that it writes anew for every number."""
    known: dict[str, np.dtype] = {}

    def remember(kind: Any) -> np.dtype:
        scalar = kind.element_ty if kind.is_block() else kind
        if scalar.name not in known:
            known[scalar.name] = found(kind)
        return known[scalar.name]

    return remember


def _share_shapes(patches: pytest.MonkeyPatch) -> None:
    """Blocks of a shape share it, checked once and wrapped once: no kernel changes a shape."""
    core = import_module("triton.language.core")
    check, wrap = core.block_type.__init__, core.tensor.__init__
    checked: dict[tuple[int, ...], tuple[Any, int]] = {}
    wrapped: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def of_block(self: Any, element_ty: Any, shape: Any) -> None:
        self.sizes = tuple([x.value if isinstance(x, core.constexpr) else x for x in shape])
        if self.sizes not in checked or {*map(type, self.sizes)} != {int}:
            check(self, element_ty, shape)
            checked[self.sizes] = self.shape, self.numel
        self.element_ty = element_ty
        self.shape, self.numel = checked[self.sizes]
        self.name = f"<{self.sizes}, {element_ty.name}>"

    def of_tensor(self: Any, handle: Any, type: Any) -> None:
        sizes = getattr(type, "sizes", ())
        if sizes not in wrapped or (not sizes and type.is_block()):
            wrap(self, handle, type)
            wrapped[sizes] = self.shape, self.numel
            return
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = wrapped[sizes]

    patches.setattr(core.block_type, "__init__", of_block)
    patches.setattr(core.tensor, "__init__", of_tensor)
