"""What panels compute, by the names of the uses."""

from __future__ import annotations

from torch import Tensor

from ...call import NO_TERMS, Problem, ScoreTerms
from . import backward, forward
from .far_keys import familiar_attention
from .operands import Operands
from .panel import RowScalars
from .stages import positive_
from .statistics import region_weights, row_statistics

__all__ = [
    "attention",
    "attention_backward",
    "familiar_attention",
    "positive_",
    "region_weights",
    "row_statistics",
]


def attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, terms: ScoreTerms = NO_TERMS
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv) of a checked call, and the rows' scalars (5, B, H, Lq)."""
    output, scalars = forward.forward(Operands(problem, query, key, terms), value)
    return output, scalars.stacked(problem)


def attention_backward(
    problem: Problem,
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    scalars: Tensor,
    terms: ScoreTerms = NO_TERMS,
    *,
    by_distance: bool = False,
) -> tuple[Tensor, Tensor, Tensor, ScoreTerms]:
    """Gradients of query, key, value and terms; those of slope and bias if `by_distance`."""
    operands = Operands(problem, query, key, terms, for_gradients=True)
    rows = RowScalars.of(problem, scalars)
    return backward.backward(operands, value, output, grad_output, rows, by_distance=by_distance)
