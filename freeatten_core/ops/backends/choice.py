"""Which back-end computes a call: the first that takes it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from ..call import NO_TERMS, Problem, ScoreTerms, visible_scores
from ..row_statistics import RowStatistics
from .panels.far_keys import undone
from .panels.ops import PanelAttention
from .panels.statistics import region_weights
from .panels.statistics import statistics as panel_statistics

__all__ = ["FUSED_DIMS", "attention", "region_weights", "row_statistics", "takes_fused", "undone"]

HAS_TRITON = False
with suppress(ImportError):
    HAS_TRITON = importlib.util.find_spec("triton") is not None

FUSED_DIMS = range(16, 257)
"""Head sizes that the fused kernels take."""


def takes_fused(problem: Problem, query: Tensor, value_dim: int) -> bool:
    """Whether the Triton kernels compute a call."""
    return (
        query.is_cuda
        and HAS_TRITON
        and query.dtype != torch.float64
        and problem.dim in FUSED_DIMS
        and value_dim in FUSED_DIMS
    )


def attention(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    terms: ScoreTerms = NO_TERMS,
) -> Tensor:
    """The output of a checked call, (B, H, Lq, Dv), with gradients, those of the terms too."""
    if takes_fused(problem, query, value.shape[-1]):
        from .fused.ops import fused_attention

        output: Tensor = fused_attention(
            query,
            key,
            value,
            *terms,
            str(problem.variant),
            problem.is_causal,
            problem.window,
        )[0]
        return output
    result: Tensor = PanelAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, *terms, problem
    )
    return result


def row_statistics(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    terms: ScoreTerms = NO_TERMS,
    advance: Callable[[int], None] = lambda _: None,
) -> RowStatistics:
    """Row statistics of a checked call, (B, H, Lq) each.

    Args:
        advance: called with the number of scores of every part computed.
    """
    if takes_fused(problem, query, problem.dim):
        from .fused.ops import row_statistics as fused_statistics

        rows = fused_statistics(problem, query, key, terms)
        advance(visible_scores(problem))
        return rows
    return panel_statistics(problem, query, key, terms, advance)
