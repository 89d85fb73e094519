"""Triton's interpreter in half the time: the same kernels, with the same checks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

EXACT = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
WIDE = {"fp16", "bf16", "fp32", "fp64", "int32", "int64"}
"""Types beside which a number of 32 bits is in bounds."""


@contextmanager
def quickened() -> Iterator[None]:
    """While it lasts, the language is patched once a launch, whole numbers are checked by NumPy,
    and what follows from shapes or types is found once."""
    interpreter = import_module("triton.runtime.interpreter")
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", _patched_once(interpreter._patch_lang))
        sums = interpreter.interpreter_semantic
        patches.setattr(sums, "binary_op_sanitize_overflow_impl", _refuse_overflow)
        patches.setattr(interpreter, "_get_np_dtype", _remembered(interpreter._get_np_dtype))
        if os.environ.get("TRITON_INTERPRET") == "1":
            _share_shapes(patches)
            _skip_conversions(patches, sums)
            _call_directly(patches, interpreter)
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
    checked: dict[tuple[int, ...], tuple[Any, int, str]] = {}
    wrapped: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def of_block(self: Any, element_ty: Any, shape: Any) -> None:
        self.sizes = tuple([x.value if isinstance(x, core.constexpr) else x for x in shape])
        if self.sizes not in checked or {*map(type, self.sizes)} != {int}:
            check(self, element_ty, shape)
            checked[self.sizes] = self.shape, self.numel, f"<{self.sizes}, "
        self.element_ty = element_ty
        self.shape, self.numel, name = checked[self.sizes]
        self.name = f"{name}{element_ty.name}>"

    def of_tensor(self: Any, handle: Any, type: Any) -> None:
        sizes = getattr(type, "sizes", ())
        if sizes not in wrapped or (not sizes and type.is_block()):
            wrap(self, handle, type)
            wrapped[sizes] = self.shape, self.numel
            return
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = wrapped[sizes]

    made: dict[tuple[tuple[int, ...], str], Any] = {}

    def with_element(self: Any, scalar: Any) -> Any:
        key = self.sizes, scalar.name
        if key not in made:
            made[key] = core.block_type(scalar, list(self.sizes))
        return made[key]

    patches.setattr(core.block_type, "__init__", of_block)
    patches.setattr(core.block_type, "with_element_ty", with_element)
    patches.setattr(core.tensor, "__init__", of_tensor)


def _skip_conversions(patches: pytest.MonkeyPatch, sums: Any) -> None:
    """Before every sum, product or comparison the interpreter asks one by one what the types of
    both sides could be. What they are converted to is asked once for each pair of types."""
    core = import_module("triton.language.core")
    unwrap, equal = core._unwrap_if_constexpr, core.dtype.__eq__
    plain = {core.tensor, core.dtype, core.pointer_type, core.block_type, int, float, bool, str}

    def unwrapped(value: Any) -> Any:
        return value if type(value) in plain else unwrap(value)

    def is_equal(self: Any, other: Any) -> bool:
        return self is other or equal(self, other)

    patches.setattr(core, "_unwrap_if_constexpr", unwrapped)
    patches.setattr(core.dtype, "__eq__", is_equal)
    patches.setattr(sums, "broadcast_impl_value", _quick_broadcast(core, sums))
    patches.setattr(sums, "binary_op_type_checking_impl", _quick_operands(core, sums))


def _quick_operands(core: Any, sums: Any) -> Callable[..., Any]:
    """Both sides in the types that they are computed in, and in one shape."""
    usual = sums.binary_op_type_checking_impl
    known: dict[Any, tuple[Any, Any]] = {}

    def kind(value: Any, other: Any) -> Any:
        """What the types follow from; None where a number's size has a say."""
        if type(value) is core.tensor:
            return value.dtype.name
        wide = type(other) is core.tensor and other.dtype.name in WIDE
        fits = type(value) is float or (type(value) is int and -(2**31) <= value < 2**31)
        return type(value) if wide and fits else None

    def converted(value: Any, dtype: Any) -> Any:
        if type(value) is not core.tensor:
            return sums.scalar_constant(value, dtype)
        return value if value.dtype.name == dtype.name else sums.cast(value, dtype)

    def checked(left: Any, right: Any, *rules: Any, **named: Any) -> Any:
        kinds = kind(left, right), kind(right, left)
        if None in kinds:
            return usual(left, right, *rules, **named)
        key = kinds, rules, tuple(named.items())
        if key not in known:
            known[key] = tuple(each.dtype for each in usual(left, right, *rules, **named))
        types = known[key]
        return sums.broadcast_impl_value(converted(left, types[0]), converted(right, types[1]))

    return checked


def _quick_broadcast(core: Any, sums: Any) -> Callable[[Any, Any], Any]:
    """Of two values whose shapes are as many numbers, or one of which is a scalar."""
    usual = sums.broadcast_impl_value

    def stretched(value: Any, sizes: tuple[int, ...]) -> Any:
        if value.type.sizes == sizes:
            return value
        handle = sums.builder.create_broadcast(value.handle, sizes)
        return core.tensor(handle, core.block_type(value.dtype, list(sizes)))

    def filled(value: Any, like: Any) -> Any:
        kind = like.type.with_element_ty(value.dtype)
        return core.tensor(sums.builder.create_splat(kind, value.handle), kind)

    def broadcast(left: Any, right: Any) -> Any:
        sizes, others = getattr(left.type, "sizes", ()), getattr(right.type, "sizes", ())
        if sizes == others:
            return left, right
        if not (sizes and others):
            return (left, filled(right, left)) if sizes else (filled(left, right), right)
        common = tuple(map(max, sizes, others))
        if len(sizes) != len(others) or any(
            {*pair} - {1, most} for *pair, most in zip(sizes, others, common, strict=True)
        ):
            return usual(left, right)  # says what does not fit
        return stretched(left, common), stretched(right, common)

    return broadcast


def _call_directly(patches: pytest.MonkeyPatch, interpreter: Any) -> None:
    """A launch patches what the language offers: it is looked for once, and called without a copy
    of its arguments."""
    core = import_module("triton.language.core")
    wrapper = core.builtin(core.program_id).__code__
    found: dict[Any, list[tuple[str, Any]]] = {}

    def direct(member: Any) -> Any:
        inner = member.__wrapped__ if getattr(member, "__code__", None) is wrapper else member

        def call(*given: Any, **named: Any) -> Any:
            named["_semantic"] = interpreter.interpreter_semantic
            return inner(*given, **named)

        return call

    def patch_builtins(package: Any, _builder: Any, scope: Any) -> None:
        if package not in found:
            members = inspect.getmembers(package, core.is_builtin)
            found[package] = [(name, direct(member)) for name, member in members]
        for name, call in found[package]:
            scope.set_attr(package, name, call)

    patches.setattr(interpreter, "_patch_builtin", patch_builtins)
