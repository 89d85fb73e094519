"""Variants, calls and tolerances that the tests of the attention operator share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from freeatten_core import Variant
from freeatten_core.ops.call import FIRST_ROWS, UNIFORM_TOLERANCE
from freeatten_core.ops.definitions import staged
from freeatten_core.variants.stages import Stages, stages_of
from freeatten_core.variants.variant import PLAIN, SHARPENED


def stages(name: str) -> Stages:
    """The stages that a name stands for."""
    return stages_of(Variant.parse(name).computes)


POWERS = (1, 2, 3, 15, 64)
FACTORS = [
    "stages:score=dim-cosine:positivity=softplus:normalise=l1:p=3",
    "stages:score=count-cosine:positivity=exp:normalise=l1",
]
"""The length-cosine score without one of its factors."""
VARIANTS = [
    *PLAIN,
    *(f"{name}:p={p}" for name in SHARPENED if name != "sigmoid-r" for p in POWERS),
    "sigmoid-r:p=15",
    *FACTORS,
]
L1_VARIANTS = [name for name in VARIANTS if stages(name).can_sharpen]
FUSED_VARIANTS = [name for name in VARIANTS if not stages(name).whole_rows]
"""Those that have Triton kernels."""


@dataclass(frozen=True)
class Call:
    """Shapes and options of one call."""

    query_length: int = 20
    key_length: int = 20
    dim: int = 8
    value_dim: int = 5
    batch: int = 2
    heads: int = 2
    groups: int = 1
    is_causal: bool = True
    window: int | None = None
    softcap: float | None = None
    head_scale: bool = False
    distance_slope: bool = False
    distance_bias: int = 0
    """T, its number of distances; 0 for none."""
    decay: float = 0.0
    """What the running sum falls by over all keys; 0 for none."""

    def for_variant(self, variant: str) -> Call:
        """The same call, causal where a variant takes no other."""
        return self if self.fits(variant) else replace(self, is_causal=True)

    def fits(self, variant: str) -> bool:
        """Whether a variant takes such a call."""
        return self.is_causal or not stages(variant).needs_order

    def tensors(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """Random query, key and value."""
        draw = torch.Generator().manual_seed(seed)
        kv_heads = self.heads // self.groups
        shapes = (
            (self.batch, self.heads, self.query_length, self.dim),
            (self.batch, kv_heads, self.key_length, self.dim),
            (self.batch, kv_heads, self.key_length, self.value_dim),
        )
        return tuple(
            torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes
        )

    @property
    def masking(self) -> dict:
        return {"is_causal": self.is_causal, "enable_gqa": self.groups > 1}

    @property
    def options(self) -> dict:
        steps = torch.arange(self.heads, dtype=torch.float64)
        return self.masking | {
            "window": self.window,
            "softcap": self.softcap,
            "head_scale": 0.7 + 0.5 * steps if self.head_scale else None,
            "distance_slope": 0.5 ** (steps + 2) if self.distance_slope else None,
            "distance_bias": self._bias(steps) if self.distance_bias else None,
            "decay": self._decay() if self.decay else None,
        }

    def _bias(self, steps: Tensor) -> Tensor:
        distance = torch.arange(self.distance_bias, dtype=torch.float64)
        return torch.cos(steps[:, None] + distance) - 0.1 * distance

    def _decay(self) -> Tensor:
        """A running sum that differs by text and head, falls unevenly and never rises."""
        shape = (self.batch, self.heads, self.key_length)
        fall = 1.1 + torch.cos(torch.arange(math.prod(shape), dtype=torch.float64)).view(shape)
        summed = fall.cumsum(-1)
        return -self.decay * summed / summed[..., -1:]


CALLS = {
    "one token": Call(1, 1),
    "63 tokens": Call(63, 63, dim=10),
    "111 tokens": Call(111, 111, dim=60, batch=1),
    "200 tokens": Call(200, 200, dim=100, batch=1),
    "not causal": Call(63, 63, is_causal=False),
    "head size 1": Call(dim=1, value_dim=1),
    "longer cache": Call(9, 63),
    "longer cache, not causal": Call(9, 63, is_causal=False),
    "one query": Call(1, 63),
    "more queries than keys": Call(63, 9),
    "more queries than keys, not causal": Call(63, 9, is_causal=False),
    "grouped queries": Call(63, 63, heads=6, groups=3),
    "one key head": Call(9, 31, heads=3, groups=3),
    "head scale": Call(63, 63, head_scale=True),
    "distance slope": Call(63, 63, distance_slope=True),
    "distance bias": Call(63, 63, distance_bias=20),
    "distance bias beyond the length": Call(9, 31, heads=6, groups=3, distance_bias=50),
    "window": Call(63, 63, window=10),
    "window of one": Call(window=1),
    "window beyond the length": Call(window=99),
    "window, longer cache": Call(31, 63, window=40),
    "window, more queries than keys": Call(63, 31, window=10),
    "bounded scores": Call(63, 63, softcap=0.7),
    "everything": Call(
        45, 63, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=7, window=30
    ),
    "everything, bounded scores": Call(
        45, 63, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=7, window=30,
        softcap=2.0,
    ),
}  # fmt: skip


@st.composite
def called_variants(draw: st.DrawFn) -> tuple[Call, str]:
    """Any call, and any variant that takes it."""
    call = draw(calls())
    return call, draw(st.sampled_from([name for name in VARIANTS if call.fits(name)]))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any call that some variant takes, small."""
    groups = draw(st.integers(1, 3))
    is_causal = draw(st.booleans())
    return Call(
        query_length=draw(st.integers(1, 70)),
        key_length=draw(st.integers(1, 70)),
        dim=draw(st.integers(1, 12)),
        value_dim=draw(st.integers(1, 9)),
        batch=draw(st.integers(1, 2)),
        heads=groups * draw(st.integers(1, 2)),
        groups=groups,
        is_causal=is_causal,
        window=draw(st.none() | st.integers(1, 80)) if is_causal else None,
        softcap=draw(st.none() | st.floats(0.3, 30)),
        head_scale=draw(st.booleans()),
        distance_slope=is_causal and draw(st.booleans()),
        distance_bias=draw(st.integers(0, 80)) if is_causal else 0,
    )


def dense(query: Tensor, key: Tensor, variant: str, options: dict) -> staged.StageValues:
    """The reference's stages in float64, with every key head repeated for its group."""
    options = {name: value for name, value in options.items() if name != "enable_gqa"}
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    return staged.stages(query.double(), key.double(), variant, **options)


def amplification(query: Tensor, key: Tensor, variant: str, options: dict) -> Tensor:
    """`p·(1 + O/u_max)` of each row, (B, H, Lq, 1): how much sharpening amplifies rounding.

    Times s/8 where scores reach a number s above 8 that is set: e^s errs by s·ε. It is infinite
    within 1e-5 of the near-uniform threshold, where rounding decides `O`.
    """
    p, reached = stages(variant).sharpen, max(1.0, (stages(variant).scale or 0) / 8)
    if p is None:
        return query.new_full((*query.shape[:3], 1), reached, dtype=torch.float64)
    result = dense(query, key, variant, options)
    count = result.visible.sum(-1, keepdim=True).double()
    share = result.normalise * count
    offset = staged.offset(share, count)
    highest = share.amax(-1, keepdim=True)
    undecided = (highest - 1 - UNIFORM_TOLERANCE).abs() < 1e-5
    undecided &= count > FIRST_ROWS
    above = torch.where(offset == 0, 1.0, highest - offset)
    return reached * p * (1 + offset / above).masked_fill(undecided, torch.inf)


def assert_within(actual: Tensor, expected: Tensor, tolerance: Tensor | float) -> None:
    """Every |actual − expected| is at most its tolerance; a NaN is never within one."""
    error = (actual.double() - expected.double()).abs()
    worst = (error / tolerance).nan_to_num(torch.inf).max() if error.isfinite().all() else torch.nan
    assert (error <= tolerance).all(), f"error is {worst} times the tolerance"


def far_apart(x: Tensor, head: int, token: int) -> Tensor:
    """A copy of (1, H, L, D) whose heads and tokens lie so many elements apart in memory.

    Untouched pages between them take no memory on a CPU.
    """
    _, heads, length, dim = x.shape
    storage = x.new_empty((heads - 1) * head + (length - 1) * token + dim)
    return storage.as_strided(x.shape, (0, head, token, 1)).copy_(x)


@contextmanager
def refused(error: type[Exception], words: list[str]) -> Iterator[None]:
    """The block raises exactly this error, with every one of the words in its message."""
    with pytest.raises(error) as caught:
        yield
    assert caught.type is error
    assert [word for word in words if word not in str(caught.value)] == []
