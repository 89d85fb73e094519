"""What the fused kernels compute, by the names of the uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ...call import NO_TERMS, Problem, ScoreTerms, visible_scores
from ...row_statistics import RowStatistics
from . import fast_launch, launch, split_launch, statistics_launch
from .statistics import FIELDS

__all__ = ["attention", "attention_backward", "row_statistics"]


def attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, terms: ScoreTerms = NO_TERMS
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv) of a checked call, and the rows' scalars (5, B, H, Lq)."""
    with _on_device_of(query):
        call = launch.Call(problem, query, key, value, terms)
        ways = (each for each in (split_launch, fast_launch) if each.takes(call))
        output, scalars = next(ways, launch).forward(call)
    return output, scalars.view(5, problem.batch, problem.heads, problem.query_length)


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
    with _on_device_of(query):
        call = launch.Call(problem, query, key, value, terms)
        return launch.backward(call, output, scalars, grad_output, by_distance=by_distance)


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
        described = dict(zip(FIELDS, statistics_launch.describe(call, scalars), strict=True))
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
