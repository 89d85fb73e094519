"""A panel: its size, its scratch, what a row of it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...call import Problem

__all__ = [
    "FORWARD_PANEL",
    "Block",
    "RowScalars",
    "Workspace",
    "diagonals",
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


def diagonals(by_distance: Tensor, rows: int, keys: int) -> Tensor:
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
