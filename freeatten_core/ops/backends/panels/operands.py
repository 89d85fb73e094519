"""Queries and keys as panels take them, and the panels of scores that they make."""

from __future__ import annotations

import torch
from torch import Tensor

from ...call import LOG2_E, NO_TERMS, Problem, ScoreTerms, compute_dtype
from .panel import Block, Workspace
from .stages import direction, inverse_norm, write_score

__all__ = ["Operands"]


class Operands:
    """Queries and keys as the score needs them: unit vectors for cosines, else as they are."""

    def __init__(
        self,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        terms: ScoreTerms = NO_TERMS,
        *,
        for_gradients: bool = False,
    ) -> None:
        """query (B, H, Lq, D), key (B, Hkv, Lk, D); unit keys `for_gradients` in any case."""
        self.problem, self.terms = problem, terms
        dtype = compute_dtype(query)
        self.narrow = query.dtype != dtype  # weights will be rounded to a narrower type
        batch = problem.batch * problem.kv_heads
        self.query = query.reshape(batch, problem.groups, problem.query_length, problem.dim).to(
            dtype
        )
        self.key = key.reshape(batch, problem.key_length, problem.dim).to(dtype)
        self.key_scale: Tensor | None = None
        if problem.variant.cosine:
            self.query, self.query_norm = direction(self.query)
            rows = problem.groups * problem.query_length
            if rows < problem.dim and not for_gradients:
                self.key_scale = inverse_norm(self.key)
            else:
                self.key, self.key_norm = direction(self.key)
        self.head_scale = self._per_head(terms.head_scale)
        self.by_distance = self._per_head(terms.by_distance(problem.key_length, dtype))
        grouped = (batch, problem.groups, problem.key_length)
        self.decay = None if terms.decay is None else terms.decay.to(self.key).reshape(grouped)
        self._corner = torch.empty(0, 0, dtype=torch.bool, device=key.device)
        self._nothing = self.key.new_tensor(-torch.inf)
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
        rows = block.stop - block.start
        panel = workspace.panel(name, len(query), self.problem.groups, rows, key.shape[1])
        by_distance = None if self.by_distance is None else self.by_distance[block.heads]
        count, kind = self.count[block.rows], self.problem.variant.score
        scale = (
            None if self.key_scale is None else self.key_scale[block.heads, None, None, block.keys]
        )
        write_score(
            panel, query, key, count, by_distance, kind, self.unit, self.problem.softcap, scale
        )
        if self.decay is not None and self.problem.variant.positivity == "exp":
            panel.add_(self._fallen(self.decay, block, workspace), alpha=self.unit)
        self._hide(panel, block)
        return panel

    def bent(self, block: Block, workspace: Workspace) -> Tensor | None:
        """The slope `1 − tanh²(s / softcap)` of bounded scores (heads, G, rows, keys); None where
        they have no bound."""
        if self.problem.softcap is None:
            return None
        query, key = self.scaled_query(block), self.key[block.heads, block.keys]
        shape = len(query), self.problem.groups, block.stop - block.start, key.shape[1]
        panel = workspace.panel("bent", *shape)
        product = panel.flatten(1, 2)
        factor = 1 / self.problem.softcap
        torch.baddbmm(product, query, key.mT, beta=0, alpha=factor, out=product)
        return panel.tanh_().square_().neg_().add_(1)

    def kept(self, block: Block, workspace: Workspace) -> Tensor | None:
        """What a pair keeps of its positivity, `exp(c_i − c_j)` (heads, G, rows, keys); 0 on hidden
        keys. None where nothing is forgotten, and for `exp`, whose scores have it."""
        if self.decay is None or self.problem.variant.positivity == "exp":
            return None
        fallen = self._fallen(self.decay, block, workspace)
        self._hide(fallen, block)
        return fallen.exp_()

    def _fallen(self, decay: Tensor, block: Block, workspace: Workspace) -> Tensor:
        """`c_i − c_j`, taken before anything is added: both can be hundreds."""
        own = self.problem.key_length - self.problem.query_length
        rows = decay[block.heads, :, block.start + own : block.stop + own, None]
        keys = decay[block.heads, :, None, block.keys]
        panel = workspace.panel("fallen", *rows.shape[:3], keys.shape[-1])
        return torch.sub(rows, keys, out=panel)

    def keys(self, block: Block) -> Tensor:
        return torch.arange(block.low, block.high, device=self.key.device)

    def last_key(self, block: Block) -> Tensor:
        """The position of each row's own key, (rows, 1)."""
        row = torch.arange(block.start, block.stop, device=self.key.device)
        return (row + self.problem.key_length - self.problem.query_length)[:, None]

    def _visible(self, rows: int, keys: int) -> Tensor:
        """Which of the last keys the rows of a panel see, (rows, keys)."""
        if self._corner.shape != (rows, keys):
            whole = torch.ones(rows, keys, dtype=torch.bool, device=self.key.device)
            self._corner = whole.tril_(keys - rows)
        return self._corner

    def _hide(self, panel: Tensor, block: Block) -> None:
        """−inf on hidden keys; only the panel's edges can hold any."""
        if not self.problem.is_causal:
            return
        rows = block.stop - block.start
        corner = panel[..., -rows:]
        visible = self._visible(rows, corner.shape[-1])
        torch.where(visible, corner, self._nothing, out=corner)
        if self.problem.window is not None:
            before = self.keys(block)[:rows] <= self.last_key(block) - self.problem.window
            panel[..., :rows].masked_fill_(before, -torch.inf)
