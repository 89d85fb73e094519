"""One attention call, checked: what every kernel is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..variants import Variant


@dataclass(frozen=True)
class Problem:
    """Shapes and options of one call. Kernels take tensors in the shapes named here.

    Query heads that share a key head are a *group*: queries are (B·Hkv, G, Lq, D), keys and
    values (B·Hkv, Lk, D), so that grouped queries never repeat a key.
    """

    variant: Variant
    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    dim: int
    is_causal: bool
    window: int | None = None

    @property
    def groups(self) -> int:
        return self.heads // self.kv_heads

    @property
    def first_row(self) -> int:
        """The first row that sees a key; rows before it give zero outputs."""
        return max(0, self.query_length - self.key_length) if self.is_causal else 0

    def visible_count(self, start: int, stop: int, like: Tensor) -> Tensor:
        """`N` of rows start…stop, (stop − start,), in the type and on the device of `like`."""
        if not self.is_causal:
            return like.new_full((stop - start,), float(self.key_length))
        row = torch.arange(start, stop, device=like.device)
        count = (row + 1 + self.key_length - self.query_length).clamp(min=0)
        if self.window is not None:
            count = count.clamp(max=self.window)
        return count.to(like.dtype)

    def key_range(self, start: int, stop: int) -> tuple[int, int]:
        """The keys that at least one of the rows start…stop sees."""
        if not self.is_causal:
            return 0, self.key_length
        shift = self.key_length - self.query_length
        low = 0 if self.window is None else max(0, start + shift + 1 - self.window)
        return low, min(self.key_length, stop + shift)

    @cached_property
    def log_dim(self) -> float:
        return math.log(self.dim)

    def score_scale(self, count: Tensor) -> Tensor:
        """What a row multiplies `q·k` (or `cos`) with, the shape of `count`."""
        if self.variant.score == "length-cosine":
            return self.log_dim * count.clamp(min=1).log()
        return torch.full_like(count, 1 / math.sqrt(self.dim))
