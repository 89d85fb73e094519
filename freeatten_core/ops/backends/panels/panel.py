"""A panel: its size, its scratch, the scores in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...call import LOG2_E, NO_TERMS, NORM_EPS, Problem, ScoreTerms, compute_dtype

__all__ = [
    "FORWARD_PANEL",
    "Block",
    "Operands",
    "RowScalars",
    "Workspace",
    "row_blocks",
    "sum_diagonals",
]

PANEL_ROWS = 128
"""1.45 at 2048; with 64 rows 1.60 (narrow products are slow), with 192 rows 1.49 (more scores
above the diagonal)."""

PANEL_ELEMENTS = 1 << 19
"""Scores in a panel where five of them are alive: the backward, the statistics."""

FORWARD_PANEL = 2
"""The forward has two panels alive, so they can be larger by this factor: 1.45 and 1.67; factor 1
gives 1.51 and 1.80 (more calls), factor 4 gives 1.57 and 1.59 (page faults, then fewer calls)."""

GPU_PANEL_ELEMENTS, GPU_PANEL_ROWS = 1 << 26, 1024
"""On a GPU a small panel is all launch cost. Not tuned: the fused kernels take most calls there."""


@dataclass
class RowScalars:
    """What a row needs for its weights to be recomputed on their own; each (B·Hkv, G, Lq)."""

    shift: Tensor
    """The row maximum of the score, subtracted before `exp`; 0 for other positivities."""
    total: Tensor
    """`S = Σ f` (after the shift); 1 where nothing is visible."""
    highest: Tensor
    """`u_max`, the largest `N·a − O`; the largest share `f` without sharpening."""
    offset: Tensor
    """`O`, 0 or 1."""
    raised: Tensor
    """`R = Σ t^p`; `S` without sharpening."""

    @classmethod
    def empty(cls, problem: Problem, like: Tensor) -> RowScalars:
        shape = (
            problem.batch * problem.kv_heads,
            problem.groups,
            problem.query_length,
        )
        return cls(
            shift=like.new_zeros(shape),
            total=like.new_ones(shape),
            highest=like.new_zeros(shape),
            offset=like.new_zeros(shape),
            raised=like.new_ones(shape),
        )

    @classmethod
    def of(cls, problem: Problem, stacked: Tensor) -> RowScalars:
        """From what `stacked` gave."""
        pairs = problem.batch * problem.kv_heads
        return cls(*stacked.reshape(5, pairs, problem.groups, problem.query_length))

    def stacked(self, problem: Problem) -> Tensor:
        """All in one, (5, B, H, Lq)."""
        each = self.shift, self.total, self.highest, self.offset, self.raised
        return torch.stack(each).view(5, problem.batch, problem.heads, problem.query_length)


@dataclass(frozen=True)
class Block:
    """Rows start…stop of the heads `heads`, and the keys low…high that they see."""

    heads: slice
    start: int
    stop: int
    low: int
    high: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def keys(self) -> slice:
        return slice(self.low, self.high)


def row_blocks(problem: Problem, like: Tensor, enlarged: int = 1) -> Iterator[Block]:
    """Cut a call on tensors like (B·Hkv, …) into blocks of `enlarged` · PANEL_ELEMENTS scores.

    The last rows come first: causal rows see most keys there, so that no panel has to grow.
    The heads of a panel are a power of two: batched products give threads whole heads (three
    heads on two threads cost 0.86 ns a score, two or four 0.70).
    """
    elements, most_rows = enlarged * PANEL_ELEMENTS, PANEL_ROWS
    if like.is_cuda:
        elements, most_rows = GPU_PANEL_ELEMENTS, GPU_PANEL_ROWS
    stop = problem.query_length
    while stop > problem.first_row:
        start = max(problem.first_row, stop - most_rows)
        low, high = problem.key_range(start, stop)
        width = problem.groups * max(1, high - low)
        if (stop - start) * width > elements:
            start = max(start, stop - max(16, elements // width))
            low, high = problem.key_range(start, stop)
        per_panel = 1 << max(0, (elements // ((stop - start) * width)).bit_length() - 1)
        for head in range(0, len(like), per_panel):
            heads = slice(head, min(head + per_panel, len(like)))
            yield Block(heads, start, stop, low, high)
        stop = start


class Workspace:
    """Panels that are reused from block to block."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._buffers: dict[str, Tensor] = {}

    def panel(self, name: str, *shape: int) -> Tensor:
        size = 1
        for length in shape:
            size *= length
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name] = self._like.new_empty(size)
        return buffer[:size].view(shape)


class Operands:
    """Queries and keys as the score needs them: unit vectors for cosines, else as they are."""

    def __init__(
        self,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        terms: ScoreTerms = NO_TERMS,
    ) -> None:
        """query (B, H, Lq, D), key (B, Hkv, Lk, D)."""
        self.problem, self.terms = problem, terms
        dtype = compute_dtype(query)
        self.narrow = query.dtype != dtype  # weights will be rounded to a narrower type
        batch = problem.batch * problem.kv_heads
        self.query = query.reshape(batch, problem.groups, problem.query_length, problem.dim).to(
            dtype
        )
        self.key = key.reshape(batch, problem.key_length, problem.dim).to(dtype)
        if problem.variant.cosine:
            self.query_norm = self.query.norm(dim=-1, keepdim=True)
            self.key_norm = self.key.norm(dim=-1, keepdim=True)
            self.query = self.query / self.query_norm.clamp(min=NORM_EPS)
            self.key = self.key / self.key_norm.clamp(min=NORM_EPS)
        self.head_scale = self._per_head(terms.head_scale)
        self.by_distance = self._per_head(terms.by_distance(problem.key_length, dtype))
        self.count = problem.visible_count(0, problem.query_length, self.query)
        self.scale = problem.score_scale(self.count)
        self.base_2 = self._takes_base_2()
        self.unit = LOG2_E if self.base_2 else 1.0

    def _takes_base_2(self) -> bool:
        """Whether panels hold score · log2 e, for `2^x` instead of `e^x`.

        `exp2` costs 0.15 ns a score on one core, `exp` 0.65, `exp2` and `log1p` 0.67, `softplus`
        1.12: LSSAR 1.45 and 1.58 instead of 1.62 and 1.76 on one core.
        """
        exponential = self.problem.variant.positivity == "exp"
        return self.problem.takes_base_2 and (exponential or self.terms.is_empty)

    def _per_head(self, values: Tensor | None) -> Tensor | None:
        """Values (H,) or (H, n) of every query head as (B·Hkv, G, n), n = 1 for (H,)."""
        if values is None:
            return None
        shaped = values.to(self.query).reshape(1, self.problem.kv_heads, self.problem.groups, -1)
        return shaped.expand(self.problem.batch, -1, -1, -1).flatten(0, 1)

    def row_scale(self, block: Block) -> Tensor:
        """What multiplies `q·k`, broadcastable to (heads, G, rows, 1)."""
        scale = self.scale[block.rows, None]
        return scale if self.head_scale is None else scale * self.head_scale[block.heads, ..., None]

    def scaled_query(self, block: Block) -> Tensor:
        """(heads, G·rows, D): the row scale rides on the query, not on the score panel."""
        scaled = self.query[block.heads, :, block.rows] * self.row_scale(block)
        return scaled.flatten(1, 2)

    def scores(self, block: Block, workspace: Workspace, name: str) -> Tensor:
        """The panel of score · unit (heads, G, rows, keys), −inf where a row does not see a key."""
        query, key = self.scaled_query(block), self.key[block.heads, block.keys]
        panel = workspace.panel(name, len(query), query.shape[1], key.shape[1])
        torch.baddbmm(panel, query, key.mT, beta=0, alpha=self.unit, out=panel)
        shaped = panel.view(len(query), self.problem.groups, block.stop - block.start, key.shape[1])
        if self.problem.variant.score == "dot-log-n":
            shaped.sub_(self.count[block.rows].log()[:, None] * self.unit)
        if self.by_distance is not None:
            shaped.add_(
                _diagonals(self.by_distance[block.heads], *shaped.shape[2:]), alpha=self.unit
            )
        self._hide(shaped, block)
        return shaped

    def _keys(self, block: Block) -> Tensor:
        return torch.arange(block.low, block.high, device=self.key.device)

    def _last_key(self, block: Block) -> Tensor:
        """The position of each row's own key, (rows, 1)."""
        row = torch.arange(block.start, block.stop, device=self.key.device)
        return (row + self.problem.key_length - self.problem.query_length)[:, None]

    def _hide(self, panel: Tensor, block: Block) -> None:
        """−inf on hidden keys; only the panel's edges can hold any."""
        if not self.problem.is_causal:
            return
        rows = block.stop - block.start
        corner = panel[..., -rows:]
        hidden = torch.ones(rows, corner.shape[-1], dtype=torch.bool, device=panel.device)
        corner.masked_fill_(hidden.triu_(1 + corner.shape[-1] - rows), -torch.inf)
        if self.problem.window is not None:
            before = self._keys(block)[:rows] <= self._last_key(block) - self.problem.window
            panel[..., :rows].masked_fill_(before, -torch.inf)


def _diagonals(by_distance: Tensor, rows: int, keys: int) -> Tensor:
    """(…, rows, keys) with `by_distance[d]` at distance d; the last row's own key is the last.

    Args:
        by_distance: (…, n), n >= keys; hidden keys get its first entry.
    """
    distance = torch.arange(keys - 1, -rows, -1, device=by_distance.device).clamp_(min=0)
    return by_distance[..., distance].unfold(-1, keys, 1).flip(-2)


def sum_diagonals(panel: Tensor) -> Tensor:
    """(…, keys) sums of a panel (…, rows, keys) by distance; the last row's own key is the last.

    Hidden entries must be 0.

    The panel lies in rows one longer than those it is read in, so that columns are distances, and
    every sum is taken in the same order each time, on a GPU too.
    """
    *outer, rows, keys = panel.shape
    width = keys + rows - 1
    wide = panel.new_zeros(*outer, rows * width)
    wide.view(*outer, rows, width)[..., rows - 1 :] = panel
    strides = (*wide.stride()[:-1], width + 1, 1)
    return wide.as_strided((*outer, rows, keys), strides).sum(-2).flip(-1)
