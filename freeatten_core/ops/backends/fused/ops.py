"""The fused kernels as PyTorch operators: autograd, `torch.compile`, one call for statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from freeatten_core.variants.stages import stages_of

from ...call import NO_TERMS, Problem, ScoreTerms, visible_scores, what_computes
from ...row_statistics import RowStatistics
from . import launch
from .statistics import FIELDS

__all__ = ["attention", "fused_attention", "fused_attention_backward", "row_statistics"]


@torch.library.custom_op("freeatten::fused_attention", mutates_args=())
def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_scale: Tensor | None,
    distance_slope: Tensor | None,
    distance_bias: Tensor | None,
    decay: Tensor | None,
    variant: str,
    is_causal: bool,
    window: int | None,
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv), contiguous, and the rows' scalars (5, B·H, Lq) for the backward.

    Arguments as checked by `freeatten_core.attention`.
    """
    problem = _problem(query, key, variant, is_causal, window)
    with _on_device_of(query):
        terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
        return launch.forward(launch.Call(problem, query, key, value, terms))


@fused_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    del key, options  # only shapes count
    batch, heads, length, _ = query.shape
    output = value.new_empty((batch, heads, length, value.shape[-1]))
    return output, value.new_empty((5, batch * heads, length), dtype=torch.float32)


@torch.library.custom_op("freeatten::fused_attention_backward", mutates_args=())
def fused_attention_backward(
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
    variant: str,
    is_causal: bool,
    window: int | None,
    by_distance: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value, contiguous, and of the score's terms.

    Those of what is None are empty, and so are slope's and bias' unless `by_distance`.
    """
    problem = _problem(query, key, variant, is_causal, window)
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    with _on_device_of(query):
        call = launch.Call(problem, query, key, value, terms)
        *grads, of_terms = launch.backward(
            call, output, scalars, grad_output, by_distance=by_distance
        )
    scale, slope, bias, kept = (
        query.new_empty(0) if grad is None or term is None else grad.to(term.dtype)
        for grad, term in zip(of_terms, terms, strict=True)
    )
    grad_query, grad_key, grad_value = grads
    return grad_query, grad_key, grad_value, scale, slope, bias, kept


@fused_attention_backward.register_fake
def _(
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
    *options: Any,
) -> tuple[Tensor, ...]:
    del grad_output, output, scalars
    by_distance = options[-1]
    slope, bias = (x if by_distance else None for x in (distance_slope, distance_bias))
    return tuple(
        query.new_empty(0) if x is None else x.new_empty(x.shape)
        for x in (query, key, value, head_scale, slope, bias, decay)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, *others = inputs
    terms, ctx.options = others[: len(NO_TERMS)], others[len(NO_TERMS) :]
    ctx.save_for_backward(query, key, value, *output, *terms)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_output: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad
    grads = fused_attention_backward(
        grad_output, *ctx.saved_tensors, *ctx.options, any(needed[4:6])
    )
    wanted = (grad if need else None for grad, need in zip(grads, needed, strict=False))
    return (*wanted, None, None, None)


fused_attention.register_autograd(_backward, setup_context=_save)


def attention(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    terms: ScoreTerms = NO_TERMS,
) -> Tensor:
    """The output of a checked call, (B, H, Lq, Dv), with gradients, those of the terms too."""
    options = str(problem.variant), problem.is_causal, problem.window
    output: Tensor = fused_attention(query, key, value, *terms, *options)[0]
    return output


@torch.no_grad()
def row_statistics(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    terms: ScoreTerms = NO_TERMS,
    advance: Callable[[int], None] = lambda _: None,
) -> RowStatistics:
    """Row statistics of query (B, H, Lq, D) against key (B, Hkv, Lk, D).

    Args:
        advance: called once, with the number of scores of the whole call.
    """
    with _on_device_of(query):
        call = launch.Call(problem, query, key, None, terms)
        _, scalars = launch.forward(call, scalars_only=True)
        described = dict(zip(FIELDS, launch.describe(call, scalars), strict=True))
    shift, total, highest, offset, raised = scalars
    variant = problem.variant
    if variant.positivity == "exp":
        normaliser = (shift + total.log2()) * math.log(2)
    else:
        unit = math.log(2) if variant.positivity == "softplus" else 1.0
        normaliser = total * unit
        if variant.sharpen is None:
            highest = highest * unit
    if variant.sharpen is None:
        raised = torch.ones_like(raised)
    normaliser[:, : problem.first_row] = float(variant.positivity != "exp")
    rows = RowStatistics(
        normaliser=normaliser, u_max=highest, offset=offset, raised=raised, **described
    )
    shape = (problem.batch, problem.heads, problem.query_length)
    advance(visible_scores(problem))
    return rows.map(lambda tensor: tensor.view(shape))


def _on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device."""
    return torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]  # no types in PyTorch


def _problem(
    query: Tensor, key: Tensor, variant: str, is_causal: bool, window: int | None
) -> Problem:
    batch, heads, query_length, dim = query.shape
    return Problem(
        variant=stages_of(what_computes(variant)),
        batch=batch,
        heads=heads,
        kv_heads=key.shape[1],
        query_length=query_length,
        key_length=key.shape[2],
        dim=dim,
        is_causal=is_causal,
        window=window,
    )
