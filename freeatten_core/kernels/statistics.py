"""What can be said of every row, and the exact weights of a region, without the L×L matrix."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from .chunked import (
    Block,
    Operands,
    RowScalars,
    Workspace,
    blocks,
    compute_dtype,
    round_to_,
    row_divisor,
    weights_panel,
)
from .problem import Problem


@dataclass(frozen=True)
class RowStatistics:
    """One number a row, each (B, H, Lq); weights `w` of a row that sees `N` keys.

    Entropy, and `sum_squares` likewise, are of the row divided by its sum: rows of `sigmoid`,
    `relu` and `count` variants do not sum to 1.
    """

    normaliser: Tensor
    """`log Σ exp(s)` for `exp`, `S = Σ f` for other positivities."""
    u_max: Tensor
    """The largest `N·a − O`; for variants without sharpening the largest `f` (after the shift)."""
    offset: Tensor
    """`O` of the re-weighting, 0 or 1."""
    entropy: Tensor
    """`−Σ w log w`, in nats."""
    largest: Tensor
    """`max w`."""
    first: Tensor
    """`w` on the first token."""
    sum_squares: Tensor
    """`Σ w²`; its inverse counts the tokens that a row effectively reads."""
    mean_distance: Tensor
    """`Σ w · (own position − j)`, in tokens."""
    row_sum: Tensor
    """`Σ w`, of the weights as rounded to the input's type."""
    zeros: Tensor
    """The share of visible keys whose weight is exactly 0."""

    @classmethod
    def empty(cls, problem: Problem, like: Tensor) -> RowStatistics:
        shape = (
            problem.batch * problem.kv_heads,
            problem.groups,
            problem.query_length,
        )
        return cls(**{field.name: like.new_zeros(shape) for field in fields(cls)})

    def ungrouped(self, problem: Problem) -> RowStatistics:
        shape = (problem.batch, problem.heads, problem.query_length)
        return RowStatistics(**{f.name: getattr(self, f.name).view(shape) for f in fields(self)})


@torch.no_grad()
def statistics(problem: Problem, query: Tensor, key: Tensor) -> RowStatistics:
    """Row statistics of query (B, H, Lq, D) against key (B, Hkv, Lk, D)."""
    operands = Operands(problem, query, key, None, None)
    rows = RowStatistics.empty(problem, operands.key)
    scalars = RowScalars.empty(problem, operands.key)
    workspace = Workspace(operands.key)
    for block in blocks(problem, len(operands.key)):
        panel = weights_panel(operands, block, workspace, scalars)
        divisor = row_divisor(operands, block, scalars)
        _describe(rows, operands, block, panel, divisor, query.dtype)
    exponential = problem.variant.positivity == "exp"
    rows.normaliser.copy_(scalars.shift + scalars.total.log() if exponential else scalars.total)
    rows.u_max.copy_(scalars.highest)
    rows.offset.copy_(scalars.offset)
    return rows.ungrouped(problem)


def _describe(
    rows: RowStatistics,
    operands: Operands,
    block: Block,
    panel: Tensor,
    divisor: Tensor,
    dtype: torch.dtype,
) -> None:
    at = (block.heads, slice(None), block.rows)
    count = operands.count[block.rows]
    rows.zeros[at] = ((panel > 0).sum(-1) / -count).add(1)
    weights = panel / divisor[..., None]
    mass = weights.sum(-1)
    shares = weights / torch.where(mass == 0, torch.ones_like(mass), mass)[..., None]
    rows.entropy[at] = torch.special.entr(shares).sum(-1)
    rows.sum_squares[at] = shares.square().sum(-1)
    rows.largest[at] = weights.amax(-1)
    if block.low == 0:
        rows.first[at] = weights[..., 0]
    keys = torch.arange(block.low, block.high, device=panel.device)
    own = torch.arange(block.start, block.stop, device=panel.device)
    own = own + operands.problem.key_length - operands.problem.query_length
    attended = (shares * keys).sum(-1)
    rows.mean_distance[at] = torch.where(mass == 0, 0.0, own - attended)
    rows.row_sum[at] = round_to_(panel, dtype).sum(-1) / divisor


@torch.no_grad()
def region_weights(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    rows: tuple[int, int],
    cols: tuple[int, int],
) -> Tensor:
    """Weights (B, H, rows, cols) of a region; rows and cols are (start, stop)."""
    shape = (problem.batch, problem.heads, rows[1] - rows[0], cols[1] - cols[0])
    seen = _keys_seen(problem, rows[1])
    if seen < 1:
        return torch.zeros(shape, dtype=compute_dtype(query), device=query.device)
    part = replace(problem, query_length=rows[1] - rows[0], key_length=seen)
    operands = Operands(
        part, query[:, :, rows[0] : rows[1]], key[:, :, : part.key_length], None, None
    )
    scalars = RowScalars.empty(part, operands.key)
    workspace = Workspace(operands.key)
    region = operands.key.new_zeros(
        len(operands.key), part.groups, part.query_length, cols[1] - cols[0]
    )
    for block in blocks(part, len(operands.key)):
        panel = weights_panel(operands, block, workspace, scalars)
        panel /= row_divisor(operands, block, scalars)[..., None]
        low, high = max(cols[0], block.low), min(cols[1], block.high)
        if low < high:
            region[block.heads, :, block.rows, low - cols[0] : high - cols[0]] = panel[
                ..., low - block.low : high - block.low
            ]
    return region.view(shape)


def _keys_seen(problem: Problem, stop: int) -> int:
    """How many keys the rows before `stop` can see."""
    if not problem.is_causal:
        return problem.key_length
    return stop + problem.key_length - problem.query_length
