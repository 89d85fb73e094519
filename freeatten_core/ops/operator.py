"""`attention(query, key, value, variant)`: check the call, choose the kernel."""

from __future__ import annotations

import importlib.util
import operator
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import own
from .arguments import check_flag
from .errors import UsageError
from .kernels import chunked, chunked_backward
from .kernels.precision import without_autocast
from .kernels.problem import Problem
from .kernels.statistics import RowStatistics, region_weights, statistics
from .variants import Variant

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

HAS_TRITON = False
with suppress(ImportError):
    HAS_TRITON = importlib.util.find_spec("triton") is not None

FUSED_DIMS = range(16, 257)
"""Head sizes that the fused kernels take."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    variant: Variant | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention of any variant in memory linear in the length, with gradients.

    CUDA tensors go through fused Triton kernels (head sizes 16 to 256, not float64), others, and
    CUDA tensors without Triton, through panels.

    Like `torch.nn.functional.scaled_dot_product_attention`, with two differences: it is causal
    by default, and causal masks are aligned bottom-right, so that a block of queries against a
    longer key cache agrees with the full sequence: row `i` sees keys up to `Lk − Lq + i`.
    A row that sees no key gives a zero output. Non-finite inputs are not checked. Under
    `torch.autocast` it computes as without, in the types it is given.

    Args:
        query: (B, H, Lq, D); float16, bfloat16, float32 or float64, on any device.
        key: (B, Hkv, Lk, D), with Hkv = H unless `enable_gqa`.
        value: (B, Hkv, Lk, Dv).
        variant: a name such as `"lssar:p=15"`, or a `Variant`; with a function of one's own,
            memory and speed are the function's.
        is_causal: whether a row sees only keys up to its own.
        enable_gqa: let `H / Hkv` consecutive query heads share one key head.
        head_scale: (H,), multiplies the score of each head; a constant (no gradient).
        distance_slope: (H,), `slope · (i − j)` is subtracted from the score; a constant.
        window: a row sees at most this many keys, its own included; needs `is_causal`.

    Returns:
        (B, H, Lq, Dv), in the type of `value`.

    Raises:
        TypeError: something that is not a floating-point tensor, or mixed types.
        ValueError: an unknown variant, a rank, size, device or option out of range.
    """
    variant = Variant.parse(variant)
    if variant.function is not None:
        check_flag("is_causal", is_causal)
        _check_tensors({"query": query, "key": key, "value": value})
        _refuse_changed(
            variant, not is_causal, head_scale is not None, distance_slope is not None, window
        )
        return own.attend(query, key, value, variant)
    problem = check(
        query,
        key,
        value,
        variant,
        is_causal=is_causal,
        enable_gqa=enable_gqa,
        head_scale=head_scale,
        distance_slope=distance_slope,
        window=window,
    )
    if takes_fused(problem, query, value.shape[-1]):
        from .kernels.fused.ops import fused_attention

        output: Tensor = fused_attention(
            query,
            key,
            value,
            head_scale,
            distance_slope,
            str(problem.variant),
            is_causal,
            problem.window,
        )[0]
        return output
    result: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, head_scale, distance_slope, problem
    )
    return result


@without_autocast()
def attention_weights(
    query: Tensor,
    key: Tensor,
    variant: Variant | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    rows: slice = slice(None),
    cols: slice = slice(None),
) -> Tensor:
    """The exact weights of a region of the attention matrix, and of that region alone.

    Args:
        query, key, variant, is_causal, enable_gqa: as in `attention`.
        rows: the queries wanted.
        cols: the keys wanted. Whole rows are computed, in panels, whatever the columns.

    Returns:
        (B, H, rows, cols), float32 (float64 for float64 inputs).

    Raises:
        As `attention`; ValueError also for a region that is empty, reversed or has a step.
    """
    query, key, variant = _weighed(query, key, variant, is_causal)
    problem = check(query, key, None, variant, is_causal=is_causal, enable_gqa=enable_gqa)
    row_range = _span("rows", rows, problem.query_length)
    key_range = _span("cols", cols, problem.key_length)
    return region_weights(problem, query, key, row_range, key_range)


@without_autocast()
def row_statistics(
    query: Tensor,
    key: Tensor,
    variant: Variant | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    window: int | None = None,
) -> RowStatistics:
    """What every row's weights look like, without the weights: entropy, largest weight, …

    Args and errors: as in `attention`; a window is computed in panels on every device.

    Returns:
        Tensors of shape (B, H, Lq); `RowStatistics` names them.
    """
    query, key, variant = _weighed(query, key, variant, is_causal, window)
    problem = check(
        query, key, None, variant, is_causal=is_causal, enable_gqa=enable_gqa, window=window
    )
    # the fused kernel of the statistics knows no window
    if window is None and takes_fused(problem, query, problem.dim):
        from .kernels.fused.ops import row_statistics as fused_statistics

        return fused_statistics(problem, query, key)
    return statistics(problem, query, key)


def _weighed(
    query: Tensor, key: Tensor, variant: Variant | str, is_causal: bool, window: int | None = None
) -> tuple[Tensor, Tensor, Variant]:
    """A call whose weights the kernels compute: itself, or what stands for one's own function."""
    variant = Variant.parse(variant)
    if variant.function is None:
        return query, key, variant
    check_flag("is_causal", is_causal)
    _check_tensors({"query": query, "key": key})
    _refuse_changed(variant, not is_causal, window)
    return *own.as_scores(query, key, variant), own.WEIGHED


def _refuse_changed(variant: Variant, *changes: object) -> None:
    if any(changes):
        raise UsageError(
            f"{variant} is one's own function, which is causal and takes query, key and value alone"
        )


def takes_fused(problem: Problem, query: Tensor, value_dim: int) -> bool:
    """Whether the Triton kernels compute a call."""
    return (
        query.is_cuda
        and HAS_TRITON
        and query.dtype != torch.float64
        and problem.dim in FUSED_DIMS
        and value_dim in FUSED_DIMS
    )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        head_scale: Tensor | None,
        distance_slope: Tensor | None,
        problem: Problem,
    ) -> Tensor:
        operands = chunked.Operands(problem, query, key, head_scale, distance_slope)
        output, scalars = chunked.forward(operands, value)
        ctx.problem = problem
        ctx.save_for_backward(
            query,
            key,
            value,
            output,
            head_scale,
            distance_slope,
            *scalars.tensors(),
        )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, head_scale, slope, *rows = ctx.saved_tensors
        operands = chunked.Operands(ctx.problem, query, key, head_scale, slope)
        grads = chunked_backward.backward(
            operands, value, output, grad_output, chunked.RowScalars(*rows)
        )
        inputs = (query, key, value)
        return (
            *(grad.to(x.dtype) for grad, x in zip(grads, inputs, strict=True)),
            None,
            None,
            None,
        )


def check(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    variant: Variant | str,
    *,
    is_causal: bool,
    enable_gqa: bool,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    window: int | None = None,
) -> Problem:
    """The call as a `Problem`, or an error that names the argument, its value and the limit."""
    variant = Variant.parse(variant)
    if variant.modifiers:
        raise ValueError(
            f"variant is {variant}: +{variant.modifiers[0]} changes a model, not the "
            f"attention operator; pass {variant.trained}"
        )
    if variant.function is not None:
        raise UsageError(f"{variant} is one's own function; this is for the named variants alone")
    check_flag("is_causal", is_causal)
    check_flag("enable_gqa", enable_gqa)
    named = {"query": query, "key": key} | ({} if value is None else {"value": value})
    _check_tensors(named)
    batch, heads, query_length, dim = query.shape
    kv_heads, key_length = key.shape[1], key.shape[2]
    for name, tensor in named.items():
        if tensor.shape[0] != batch:
            raise ValueError(f"{name} has batch {tensor.shape[0]}; query has {batch}")
    if key.shape[3] != dim:
        raise ValueError(f"key has head size {key.shape[3]}; query has {dim}")
    if value is not None and value.shape[1:3] != key.shape[1:3]:
        raise ValueError(
            f"value has (heads, length) {tuple(value.shape[1:3])}; key has {tuple(key.shape[1:3])}"
        )
    if heads != kv_heads and not (enable_gqa and heads % kv_heads == 0):
        rule = "a divisor of it" if enable_gqa else "equal unless enable_gqa=True"
        raise ValueError(f"key has {kv_heads} heads, query {heads}; it must be {rule}")
    for name, constant in (
        ("head_scale", head_scale),
        ("distance_slope", distance_slope),
    ):
        _check_constant(name, constant, heads, query)
    if distance_slope is not None and not is_causal:
        raise ValueError("distance_slope needs is_causal=True")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise TypeError(f"window is {window!r}; it must be a whole number, at least 1")
    if window is not None and (not is_causal or window < 1):
        raise ValueError(f"window is {window}; it must be at least 1, with is_causal=True")
    return Problem(
        variant=variant,
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        query_length=query_length,
        key_length=key_length,
        dim=dim,
        is_causal=is_causal,
        window=None if window is None else min(window, key_length),
    )


def _check_tensors(named: Mapping[str, Tensor]) -> None:
    for name, tensor in named.items():
        _check_tensor(name, tensor, named["query"])


def _check_tensor(name: str, tensor: Tensor, query: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; it must be a tensor")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is {tensor.layout}; it must be a dense tensor")
    if tensor.dtype not in FLOATS:
        raise TypeError(
            f"{name} is {tensor.dtype}; it must be float16, bfloat16, float32 or float64"
        )
    if tensor.dtype != query.dtype:
        raise TypeError(f"{name} is {tensor.dtype}, query is {query.dtype}; one type")
    if tensor.device != query.device:
        raise ValueError(f"{name} is on {tensor.device}, query on {query.device}; one device")
    if tensor.ndim != 4:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; "
            "it must have 4 dimensions (batch, heads, length, head size)"
        )
    if 0 in tensor.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; every size must be at least 1")


def _check_constant(name: str, constant: Tensor | None, heads: int, query: Tensor) -> None:
    if constant is None:
        return
    if not isinstance(constant, Tensor):
        raise TypeError(f"{name} is a {type(constant).__name__}; it must be a tensor, one a head")
    if tuple(constant.shape) != (heads,):
        raise ValueError(
            f"{name} has shape {tuple(constant.shape)}; it must be ({heads},), one a head"
        )
    if constant.device != query.device:
        raise ValueError(f"{name} is on {constant.device}, query on {query.device}; one device")
    if constant.requires_grad:
        raise ValueError(f"{name} requires a gradient; it is a constant here: detach it")


def _span(name: str, wanted: slice, length: int) -> tuple[int, int]:
    if not isinstance(wanted, slice):
        raise TypeError(f"{name} is {wanted!r}; it must be a slice, such as slice(0, 8)")
    start = 0 if wanted.start is None else wanted.start
    stop = length if wanted.stop is None else wanted.stop
    shown = f"{start}:{stop}" + ("" if wanted.step is None else f":{wanted.step}")
    legal = f"it must be start:stop with 0 <= start < stop <= {length} and no step"
    try:
        if isinstance(start, bool) or isinstance(stop, bool):
            raise TypeError
        start, stop = operator.index(start), operator.index(stop)
    except TypeError:
        raise UsageError(f"{name} is {shown}; {legal}, in whole numbers") from None
    if wanted.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(f"{name} is {shown}; {legal}")
    return start, stop
