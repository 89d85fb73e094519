"""Attention as one operator of PyTorch, whatever back-end computes it.

Gradients, `torch.func` and `vmap` know it, and `torch.compile` sees one node in the place of what a
back-end does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad, profiler
from torch.autograd.function import once_differentiable

from freeatten_core.variants.stages import Stages

from .backends import choice
from .call import Problem, ScoreTerms, compute_dtype, in_transform

__all__ = ["attention", "attention_backward", "attention_forward"]

PLAIN = (Tensor, torch.nn.Parameter)
"""Types of which nothing but PyTorch itself knows more."""

FOLLOWED: tuple[Callable[[], Any], ...] = (
    in_transform,
    *(
        getattr(torch._C, name, lambda: True)
        for name in ("_is_tracing", "_len_torch_dispatch_stack", "_len_torch_function_stack")
    ),
)
"""Whether something around a call sees every operator: a trace, a counter, tensors without data."""


def attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, terms: ScoreTerms
) -> Tensor:
    """The output of a checked call, (B, H, Lq, Dv), with gradients, those of the terms too."""
    back_end = choice.chosen("attention", problem, query, value.shape[-1], terms)
    compiling = torch.compiler.is_compiling()
    if not compiling and _is_plain(query, key, value, terms):
        plain: Tensor = back_end.load().attention(problem, query, key, value, terms)[0]
        return plain
    stages = problem.variant
    inputs = (
        query,
        key,
        value,
        *terms,
        stages.score,
        stages.positivity,
        stages.normalise,
        stages.sharpen,
        stages.scale,
        problem.is_causal,
        problem.window,
        problem.softcap,
        back_end.name,
    )
    transformed = not compiling and in_transform()
    output: Tensor = (_differentiable if transformed else attention_forward)(*inputs)[0]
    return output


def _is_plain(query: Tensor, key: Tensor, value: Tensor, terms: ScoreTerms) -> bool:
    """Whether nobody but the caller has to know of the operator: no gradient is to come, nothing
    follows operators, and the numbers lie in memory. To be an operator takes a short call on a GPU
    a quarter of its time."""
    tensors = (query, key, value) if terms.is_empty else (query, key, value, *terms)
    wants_gradients = torch.is_grad_enabled()
    for each in tensors:
        if each is None:
            continue
        if type(each) not in PLAIN or each.is_neg() or (wants_gradients and each.requires_grad):
            return False
    if query.is_meta or profiler._is_profiler_enabled or forward_ad._current_level >= 0:
        return False
    return not any(followed() for followed in FOLLOWED)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_scale: Tensor | None,
    distance_slope: Tensor | None,
    distance_bias: Tensor | None,
    decay: Tensor | None,
    score: str,
    positivity: str,
    normalise: str,
    sharpen: int | None,
    scale: float | None,
    is_causal: bool,
    window: int | None,
    softcap: float | None,
    back_end: str,
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv), contiguous, and the rows' scalars (5, B, H, Lq) for the backward.

    Arguments as checked by `freeatten_core.attention`; the gradient is by the same back-end.
    """
    problem = _problem(
        query, key, (score, positivity, normalise, sharpen, scale), is_causal, window, softcap
    )
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    kernels = choice.named(back_end).load()
    outputs: tuple[Tensor, Tensor] = kernels.attention(problem, query, key, value, terms)
    return outputs


def _fake_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    del key  # what is given back has the sizes of the others
    output = value.new_empty(*query.shape[:3], value.shape[-1])
    return output, query.new_empty(5, *query.shape[:3], dtype=compute_dtype(query))


def _attention_backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    scalars: Tensor,
    head_scale: Tensor | None,
    distance_slope: Tensor | None,
    distance_bias: Tensor | None,
    decay: Tensor | None,
    score: str,
    positivity: str,
    normalise: str,
    sharpen: int | None,
    scale: float | None,
    is_causal: bool,
    window: int | None,
    softcap: float | None,
    back_end: str,
    by_distance: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value, contiguous, and of the score's terms.

    Those of what is None are empty, and so are slope's and bias' unless `by_distance`.
    """
    problem = _problem(
        query, key, (score, positivity, normalise, sharpen, scale), is_causal, window, softcap
    )
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    inputs = (query, key, value, *terms)
    kernels = choice.named(back_end).load()
    saved = query, key, value, output, scalars
    *grads, of_terms = kernels.attention_backward(
        problem, grad_output, *saved, terms, by_distance=by_distance
    )
    found = [
        query.new_empty(0) if x is None or grad is None else grad.to(x.dtype)
        for x, grad in zip(inputs, (*grads, *of_terms), strict=True)
    ]
    return tuple(found)  # type: ignore[return-value]  # seven, as the inputs are


def _fake_attention_backward(
    _: Tensor, query: Tensor, key: Tensor, value: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    (scale, slope, bias, decay), by_distance = others[2:6], others[-1]
    wanted = (query, key, value, scale, *((slope, bias) if by_distance else (None, None)), decay)
    return tuple(query.new_empty(0) if x is None else x.new_empty(x.shape) for x in wanted)


PACKAGE = __name__.partition(".")[0]
NAMESPACE = "freeatten" if PACKAGE == "freeatten_core" else PACKAGE
"""Of the operators. A copy, such as a kernel of a hub, has one of its own, so that both load."""

LIBRARY = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]  # no types in PyTorch
"""Not `torch.library.custom_op`: with it the first eager call would load the compiler, seconds."""


def _registered(name: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    schema = torch.library.infer_schema(compute, mutates_args=())
    tags = (torch.Tag.pt2_compliant_tag,)
    LIBRARY.define(f"{name}{schema}", tags=tags)  # type: ignore[no-untyped-call]  # no types in PyTorch
    # no types in PyTorch
    LIBRARY.impl(name, compute, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=LIBRARY)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


attention_forward = _registered("attention", _attention, _fake_attention)
"""`freeatten::attention`, of `_attention`."""
attention_backward = _registered(
    "attention_backward", _attention_backward, _fake_attention_backward
)


# Gradients


def _kept(mixed: Tensor) -> tuple[Tensor, tuple[Tensor, int] | None]:
    """What the backward keeps of an output, which the caller may change in place.

    Returns:
        The output's own memory, a tensor of no numbers whose version counts the changes of the
        output, and the version now: after a change the output is computed again. Or a copy and
        None: where something follows operators, and in a graph that is replayed and never looks.
    """
    replayed = mixed.is_cuda and torch.cuda.is_current_stream_capturing()
    if type(mixed) is not Tensor or replayed or any(followed() for followed in FOLLOWED):
        return mixed.clone(), None
    changes = mixed.detach()
    changes.data = changes.new_empty(0)
    return mixed.data, (changes, changes._version)


class _Attention(torch.autograd.Function):
    """The operator with its gradient, in the one form that `torch.func` knows.

    It costs a call 30 µs more than the operator, which has the same gradient of its own.
    """

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = attention_forward(*inputs)
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        (query, key, value, *terms), ctx.options = inputs[: len(HEADS)], inputs[len(HEADS) :]
        mixed, scalars = output
        kept, ctx.changes = _kept(mixed)
        ctx.save_for_backward(query, key, value, kept, scalars, *terms)
        ctx.mark_non_differentiable(scalars)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad
        query, key, value, mixed, scalars, *terms = ctx.saved_tensors
        if ctx.changes is not None and ctx.changes[0]._version != ctx.changes[1]:
            mixed = attention_forward(query, key, value, *terms, *ctx.options)[0]
        saved = query, key, value, mixed, scalars, *terms
        grads = attention_backward(grad_output, *saved, *ctx.options, any(needed[4:6]))
        wanted = (
            grad if need else None for grad, need in zip(grads, needed[: len(HEADS)], strict=True)
        )
        return (*wanted, *(None for _ in ctx.options))

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, *inputs: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        tensors = _joined(info.batch_size, HEADS, in_dims, inputs)
        output, scalars = _differentiable(*tensors, *inputs[len(tensors) :])
        parted = _parted(info.batch_size, 1, output), _parted(info.batch_size, 2, scalars)
        return parted, (1, 2)


_differentiable: Callable[..., tuple[Tensor, Tensor]] = _Attention.apply
torch.library.register_autograd(
    f"{NAMESPACE}::attention",
    _Attention.backward,
    setup_context=_Attention.setup_context,
    lib=LIBRARY,
)


# vmap: its dimension becomes one with that of heads, which share nothing, learned numbers included

HEADS = (1, 1, 1, 0, 0, 0, 1)
"""The dimension of heads, of query, key, value and the terms."""


def _mapped_backward(
    info: Any, in_dims: Any, *inputs: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    heads = (1, *HEADS[:3], 1, 2, *HEADS[3:])
    tensors = _joined(info.batch_size, heads, in_dims, inputs)
    grads = attention_backward(*tensors, *inputs[len(tensors) :])
    parted = (_parted(info.batch_size, *each) for each in zip(HEADS, grads, strict=True))
    return tuple(parted), HEADS


torch.library.register_vmap(f"{NAMESPACE}::attention", _Attention.vmap, lib=LIBRARY)
torch.library.register_vmap(f"{NAMESPACE}::attention_backward", _mapped_backward, lib=LIBRARY)


def _joined(
    size: int, heads: tuple[int, ...], in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]
) -> list[Tensor | None]:
    """The tensors of the inputs, their mapped dimension of `size` joined to that of heads."""
    joined: list[Tensor | None] = []
    for head, mapped, tensor in zip(heads, in_dims, inputs, strict=False):
        if tensor is None:
            joined.append(None)
            continue
        if mapped is None:  # the same for all
            moved = torch.stack([tensor] * size, dim=head)
        else:
            moved = tensor.movedim(mapped, head)
        joined.append(moved.flatten(head, head + 1))
    return joined


def _parted(size: int, head: int, tensor: Tensor) -> Tensor:
    """The mapped dimension before that of heads again; of no gradient, nothing with one."""
    if tensor.ndim <= head:
        return tensor.new_empty(*(0 for _ in range(head)), size)
    shape = *tensor.shape[:head], size, tensor.shape[head] // size, *tensor.shape[head + 1 :]
    return tensor.reshape(shape)


def _problem(
    query: Tensor,
    key: Tensor,
    stages: tuple[Any, ...],
    is_causal: bool,
    window: int | None,
    softcap: float | None,
) -> Problem:
    batch, heads, query_length, dim = query.shape
    return Problem(
        variant=Stages(*stages),
        batch=batch,
        heads=heads,
        kv_heads=key.shape[1],
        query_length=query_length,
        key_length=key.shape[2],
        dim=dim,
        is_causal=is_causal,
        window=window,
        softcap=softcap,
    )
