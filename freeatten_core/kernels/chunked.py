"""Attention in panels of (heads × rows × visible keys): any device, never L×L.

A panel is scratch that stays in the cache, is allocated once a call and written with `out=`;
fresh tensors cost two to five times as much, in page faults. Scores are kept for the whole
panel, so LSSAR needs no second product. Inputs below float32 are computed in float32, their
weights rounded to the input's type before they meet the values, as fused kernels do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..reference import FIRST_ROWS, NORM_EPS, UNIFORM_TOLERANCE
from .power import power_
from .problem import Problem

PANEL_ELEMENTS = 1 << 19
PANEL_ROWS = 128


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

    def tensors(self) -> tuple[Tensor, ...]:
        return self.shift, self.total, self.highest, self.offset, self.raised


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


def compute_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def blocks(problem: Problem, head_count: int) -> Iterator[Block]:
    """Cut the call into blocks whose panel holds about PANEL_ELEMENTS scores."""
    start = problem.first_row
    while start < problem.query_length:
        rows = min(PANEL_ROWS, problem.query_length - start)
        low, high = problem.key_range(start, start + rows)
        width = problem.groups * max(1, high - low)
        if rows * width > PANEL_ELEMENTS:
            rows = min(rows, max(16, PANEL_ELEMENTS // width))
            low, high = problem.key_range(start, start + rows)
        per_panel = max(1, PANEL_ELEMENTS // (rows * width))
        for head in range(0, head_count, per_panel):
            heads = slice(head, min(head + per_panel, head_count))
            yield Block(heads, start, start + rows, low, high)
        start += rows


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
        head_scale: Tensor | None,
        distance_slope: Tensor | None,
    ) -> None:
        """query (B, H, Lq, D), key (B, Hkv, Lk, D), head_scale and distance_slope (H,)."""
        self.problem = problem
        dtype = compute_dtype(query)
        batch = problem.batch * problem.kv_heads
        self.query = query.reshape(batch, problem.groups, problem.query_length, problem.dim).to(
            dtype
        )
        self.key = key.reshape(batch, problem.key_length, problem.dim).to(dtype)
        if problem.variant.score == "length-cosine":
            self.query_norm = self.query.norm(dim=-1, keepdim=True)
            self.key_norm = self.key.norm(dim=-1, keepdim=True)
            self.query = self.query / self.query_norm.clamp(min=NORM_EPS)
            self.key = self.key / self.key_norm.clamp(min=NORM_EPS)
        self.head_scale = self._per_head(head_scale)
        self.distance_slope = self._per_head(distance_slope)
        self.count = problem.visible_count(0, problem.query_length, self.query)

    def _per_head(self, values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        shaped = values.to(self.query).view(1, self.problem.kv_heads, -1)
        return shaped.expand(self.problem.batch, -1, -1).reshape(-1, self.problem.groups, 1, 1)

    def row_scale(self, block: Block) -> Tensor:
        """What multiplies `q·k`, broadcastable to (heads, G, rows, 1)."""
        scale = self.problem.score_scale(self.count[block.rows])[:, None]
        return scale if self.head_scale is None else scale * self.head_scale[block.heads]

    def scaled_query(self, block: Block) -> Tensor:
        """(heads, G·rows, D): the row scale rides on the query, not on the score panel."""
        scaled = self.query[block.heads, :, block.rows] * self.row_scale(block)
        return scaled.flatten(1, 2)

    def scores(self, block: Block, workspace: Workspace, name: str) -> Tensor:
        """The score panel (heads, G, rows, keys), −inf where a row does not see a key."""
        query, key = self.scaled_query(block), self.key[block.heads, block.keys]
        panel = workspace.panel(name, len(query), query.shape[1], key.shape[1])
        torch.bmm(query, key.mT, out=panel)
        shaped = panel.view(len(query), self.problem.groups, block.stop - block.start, key.shape[1])
        if self.problem.variant.score == "dot-log-n":
            shaped.sub_(self.count[block.rows].log()[:, None])
        if self.distance_slope is not None:
            distance = self._last_key(block) - self._keys(block)
            shaped.sub_(self.distance_slope[block.heads] * distance.to(shaped.dtype))
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
        last = self._last_key(block)
        ahead = max(0, panel.shape[-1] - rows)
        keys = self._keys(block)
        panel[..., ahead:].masked_fill_(keys[ahead:] > last, -torch.inf)
        if self.problem.window is not None:
            panel[..., :rows].masked_fill_(keys[:rows] <= last - self.problem.window, -torch.inf)


def make_positive_(problem: Problem, score: Tensor, shift: Tensor) -> Tensor:
    """The positivity stage in place; `shift` (..., rows) is subtracted before `exp`."""
    match problem.variant.positivity:
        case "exp":
            return score.sub_(shift[..., None]).exp_()
        case "softplus":
            return torch.ops.aten.softplus.out(score, out=score)  # type: ignore[no-any-return]
        case "sigmoid":
            return score.sigmoid_()
        case "relu":
            return score.relu_()


def reduce_rows(problem: Problem, positive: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`S`, `u_max` and `O` of a panel of positive scores; each (heads, G, rows)."""
    total = positive.sum(-1)
    highest = positive.amax(-1)
    if problem.variant.sharpen is None:
        return total, highest, torch.zeros_like(total)
    uniform = count * highest <= (1 + UNIFORM_TOLERANCE) * total
    offset = torch.where((count <= FIRST_ROWS) | uniform, 0.0, 1.0).to(total.dtype)
    safe = torch.where(total == 0, torch.ones_like(total), total)
    return total, count * highest / safe - offset, offset


def above_offset_(
    positive: Tensor, count: Tensor, total: Tensor, highest: Tensor, offset: Tensor
) -> Tensor:
    """`t = relu(N·a − O) / u_max` in place of `f`; in [0, 1], so no power of it overflows."""
    safe = torch.where(total * highest == 0, torch.ones_like(total), total * highest)
    slope = count / safe
    rise = offset / torch.where(highest == 0, torch.ones_like(highest), highest)
    return positive.mul_(slope[..., None]).sub_(rise[..., None]).clamp_(min=0)


def weights_panel(
    operands: Operands, block: Block, workspace: Workspace, scalars: RowScalars
) -> Tensor:
    """Unnormalised weights (heads, G, rows, keys), to be divided by `row_divisor`.

    Fills the block's part of `scalars`.
    """
    problem = operands.problem
    panel = operands.scores(block, workspace, "score")
    at = (block.heads, slice(None), block.rows)
    if problem.variant.positivity == "exp" and problem.variant.normalise == "l1":
        scalars.shift[at] = panel.amax(-1)
    positive = make_positive_(problem, panel, scalars.shift[at])
    if problem.variant.normalise != "l1":
        return positive
    count = operands.count[block.rows]
    total, highest, offset = reduce_rows(problem, positive, count)
    scalars.total[at] = torch.where(total == 0, torch.ones_like(total), total)
    scalars.highest[at], scalars.offset[at] = highest, offset
    if problem.variant.sharpen is None:
        scalars.raised[at] = scalars.total[at]
        return positive
    above = above_offset_(positive, count, total, highest, offset)
    scratch = workspace.panel("power", *above.shape)
    weights, _ = power_(above, problem.variant.sharpen, scratch)
    raised = weights.sum(-1)
    scalars.raised[at] = torch.where(raised == 0, torch.ones_like(raised), raised)
    return weights


def row_divisor(operands: Operands, block: Block, scalars: RowScalars) -> Tensor:
    """What a block's weights are divided by, broadcastable to (heads, G, rows)."""
    match operands.problem.variant.normalise:
        case "l1":
            return scalars.raised[block.heads, :, block.rows]
        case "count":
            return operands.count[block.rows]
        case "none":
            return torch.ones_like(operands.count[block.rows])


def round_to_(panel: Tensor, dtype: torch.dtype) -> Tensor:
    """Round the panel's values to `dtype` in place, when that is the narrower type."""
    if dtype.itemsize >= panel.dtype.itemsize:
        return panel
    return panel.copy_(panel.to(dtype))


def forward(operands: Operands, value: Tensor) -> tuple[Tensor, RowScalars]:
    """Output (B, H, Lq, Dv) in the type of `value`, and the rows' scalars.

    Args:
        operands: queries and keys.
        value: (B, Hkv, Lk, Dv).
    """
    problem = operands.problem
    values = value.reshape(-1, problem.key_length, value.shape[-1]).to(operands.key.dtype)
    output = values.new_zeros(len(values), problem.groups, problem.query_length, value.shape[-1])
    scalars = RowScalars.empty(problem, output)
    workspace = Workspace(values)
    for block in blocks(problem, len(values)):
        weights = weights_panel(operands, block, workspace, scalars)
        round_to_(weights, value.dtype)
        mixed = torch.bmm(weights.flatten(1, 2), values[block.heads, block.keys])
        divisor = row_divisor(operands, block, scalars)[..., None]
        output[block.heads, :, block.rows] = mixed.view(*weights.shape[:3], -1) / divisor
    shape = (problem.batch, problem.heads, problem.query_length, value.shape[-1])
    return output.view(shape).to(value.dtype), scalars
