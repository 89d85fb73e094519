"""The panels as a PyTorch operator with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...call import NO_TERMS, Problem, ScoreTerms
from . import backward, forward
from .far_keys import familiar_attention
from .operands import Operands
from .panel import RowScalars
from .stages import positive_
from .statistics import region_weights, row_statistics

__all__ = [
    "PanelAttention",
    "attention",
    "familiar_attention",
    "positive_",
    "region_weights",
    "row_statistics",
]


class PanelAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        head_scale: Tensor | None,
        distance_slope: Tensor | None,
        distance_bias: Tensor | None,
        decay: Tensor | None,
        problem: Problem,
    ) -> Tensor:
        terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
        operands = Operands(problem, query, key, terms)
        output, scalars = forward.forward(operands, value)
        ctx.problem = problem
        ctx.save_for_backward(
            query,
            key,
            value,
            output,
            *terms,
            *scalars.tensors(),
        )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *others = ctx.saved_tensors
        terms, rows = ScoreTerms(*others[: len(NO_TERMS)]), others[len(NO_TERMS) :]
        *grads, of_terms = backward.backward(
            Operands(ctx.problem, query, key, terms),
            value,
            output,
            grad_output,
            RowScalars(*rows),
            by_distance=any(ctx.needs_input_grad[4:6]),
        )
        inputs = (query, key, value, *terms)
        return (
            *(
                None if grad is None or x is None else grad.to(x.dtype)
                for grad, x in zip((*grads, *of_terms), inputs, strict=True)
            ),
            None,
        )


@torch.compiler.disable  # type: ignore[untyped-decorator]  # no types in PyTorch
def attention(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    terms: ScoreTerms = NO_TERMS,
) -> Tensor:
    """The output of a checked call, (B, H, Lq, Dv), with gradients, those of the terms too.

    `torch.compile` leaves it as it is: a graph of its blocks would be compiled for minutes.
    """
    output: Tensor = PanelAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, *terms, problem
    )
    return output
