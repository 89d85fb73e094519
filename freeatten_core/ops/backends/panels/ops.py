"""The panels as a PyTorch operator with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...call import Problem
from . import backward, forward
from .far_keys import familiar_attention
from .panel import Operands, RowScalars
from .stages import positive_
from .statistics import region_weights, row_statistics

__all__ = ["attention", "familiar_attention", "positive_", "region_weights", "row_statistics"]


class PanelAttention(torch.autograd.Function):
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
        operands = Operands(problem, query, key, head_scale, distance_slope)
        output, scalars = forward.forward(operands, value)
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
        operands = Operands(ctx.problem, query, key, head_scale, slope)
        grads = backward.backward(operands, value, output, grad_output, RowScalars(*rows))
        inputs = (query, key, value)
        return (
            *(grad.to(x.dtype) for grad, x in zip(grads, inputs, strict=True)),
            None,
            None,
            None,
        )


def attention(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_scale: Tensor | None,
    distance_slope: Tensor | None,
) -> Tensor:
    """The output of a checked call, (B, H, Lq, Dv), with gradients."""
    output: Tensor = PanelAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, head_scale, distance_slope, problem
    )
    return output
