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
    def scale_slope(self) -> float:
        """What a row multiplies `q·k` (or `cos`) with is `scale_slope · log N + scale_base`."""
        return {"length-cosine": math.log(self.dim), "count-cosine": 1.0}.get(
            self.variant.score, 0.0
        )

    @cached_property
    def scale_base(self) -> float:
        if self.scale_slope:
            return 0.0
        return math.log(self.dim) if self.variant.cosine else 1 / math.sqrt(self.dim)

    @property
    def largest_scale(self) -> float:
        """Of any row of two keys or more: no cosine score is larger."""
        return self.scale_slope * math.log(max(2, self.key_length)) + self.scale_base

    def score_scale(self, count: Tensor) -> Tensor:
        """What a row multiplies `q·k` (or `cos`) with, the shape of `count`."""
        return self.scale_slope * count.clamp(min=1).log() + self.scale_base
