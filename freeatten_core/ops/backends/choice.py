"""Which back-end computes a call: the first of the table that takes it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from freeatten_core.variants.stages import Positivity, Stages

from ..call import NO_TERMS, Familiar, Problem, ScoreTerms
from ..row_statistics import RowStatistics

__all__ = [
    "BACK_ENDS",
    "FUSED_DIMS",
    "BackEnd",
    "Use",
    "chosen",
    "familiar_attention",
    "hopper_state",
    "is_fused",
    "named",
    "positive_",
    "region_weights",
    "row_statistics",
]

Use = Literal["attention", "row_statistics", "region_weights", "familiar_attention"]
"""What a call is for: the name of a function below, and of the back-end's that computes it."""

HAS_TRITON = False
with suppress(ImportError):
    HAS_TRITON = importlib.util.find_spec("triton") is not None

FUSED_NORMALISES = ("l1", "off-by-one", "count", "none")

FUSED_DIMS = range(16, 257)
"""Head sizes that the fused kernels take."""


@dataclass(frozen=True)
class BackEnd:
    """Kernels of one kind, for some device and some uses."""

    name: str
    takes: Callable[[Use, Problem, Tensor, int, ScoreTerms], bool]
    """(use, problem, query, head size of the values, terms) -> whether it computes the call."""
    load: Callable[[], ModuleType]
    """Its functions, by the names of the uses that it takes; imported when first needed."""


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
    kernels = chosen("row_statistics", problem, query, problem.dim, terms).load()
    rows: RowStatistics = kernels.row_statistics(problem, query, key, terms, advance)
    return rows


def region_weights(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    rows: tuple[int, int],
    cols: tuple[int, int],
    terms: ScoreTerms = NO_TERMS,
) -> Tensor:
    """Weights (B, H, rows, cols) of a region of a checked call; both are (start, stop)."""
    kernels = chosen("region_weights", problem, query, problem.dim, terms).load()
    weights: Tensor = kernels.region_weights(problem, query, key, rows, cols, terms)
    return weights


def familiar_attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, familiar: Familiar
) -> Tensor:
    """The output of a checked causal call with far keys made familiar, (B, H, Lq, Dv)."""
    kernels = chosen("familiar_attention", problem, query, value.shape[-1]).load()
    output: Tensor = kernels.familiar_attention(problem, query, key, value, familiar)
    return output


def positive_(positivity: Positivity, scores: Tensor, *, base_2: bool) -> Tensor:
    """The positivity of scores that the caller made, in place.

    Args:
        positivity: not one that needs its whole row.
        scores: of any shape, less what `exp` is to be shifted by; −inf gives 0.
        base_2: the scores are multiplied with log2 e; see `Problem.takes_base_2`.
    """
    positive: Tensor = _panels().positive_(positivity, scores, base_2=base_2)
    return positive


def chosen(
    use: Use, problem: Problem, query: Tensor, value_dim: int, terms: ScoreTerms = NO_TERMS
) -> BackEnd:
    """The back-end that computes a call."""
    for back_end in BACK_ENDS:
        if back_end.takes(use, problem, query, value_dim, terms):
            return back_end
    raise AssertionError(f"no back-end for {use}")  # the last one takes every call


def is_fused(stages: Stages) -> bool:
    """Whether Triton's kernels compute stages, where nothing else speaks against it."""
    divided = stages.normalise in FUSED_NORMALISES and not stages.whole_rows
    return divided or _is_sticks(stages)


def hopper_state() -> str | None:
    """Which of LSSAR's forwards have the kernel for capability 9.0 on the current GPU, or why none
    has, in words; None without Triton."""
    if not HAS_TRITON:
        return None
    from .fused import hopper_launch

    there = torch.cuda.is_available()
    return hopper_launch.state(torch.cuda.current_device() if there else -1)


def _is_sticks(stages: Stages) -> bool:
    """Whether stages are stick-breaking of q·k / √D."""
    return stages.needs_order and stages.score == "dot"


def named(name: str) -> BackEnd:
    """The back-end of a name."""
    return next(each for each in BACK_ENDS if each.name == name)


# The table


def _takes_fused(use: Use, problem: Problem, query: Tensor, value_dim: int, _: ScoreTerms) -> bool:
    return (
        use in ("attention", "row_statistics")
        and not _is_sticks(problem.variant)
        and is_fused(problem.variant)
        and _has_kernels(problem, query, value_dim)
    )


def _takes_sticks(
    use: Use, problem: Problem, query: Tensor, value_dim: int, terms: ScoreTerms
) -> bool:
    return (
        use in ("attention", "row_statistics")
        and _is_sticks(problem.variant)
        and terms.is_empty
        and _has_kernels(problem, query, value_dim)
    )


def _has_kernels(problem: Problem, query: Tensor, value_dim: int) -> bool:
    """Whether Triton's kernels run on the device, and take the type, the head sizes and scores,
    which are not bounded."""
    return (
        query.is_cuda
        and HAS_TRITON
        and problem.batch > 0
        and problem.softcap is None
        and query.dtype != torch.float64
        and problem.dim in FUSED_DIMS
        and value_dim in FUSED_DIMS
    )


def _fused() -> ModuleType:
    from .fused import ops

    return ops


def _sticks() -> ModuleType:
    from .fused import stick_ops

    return stick_ops


def _panels() -> ModuleType:
    from .panels import ops

    return ops


BACK_ENDS: tuple[BackEnd, ...] = (
    BackEnd("fused", _takes_fused, _fused),
    BackEnd("fused sticks", _takes_sticks, _sticks),
    BackEnd("panels", lambda *_: True, _panels),
)
"""Those for fewer calls first; a new one is an entry here."""
