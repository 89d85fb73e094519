"""What each modifier of a variant's name does to a model at inference.

`L` is the training length, `N` the number of keys that a row sees. Below `L` every modifier but
`pi`, `ntk` and `yarn`, which are set for the longest length asked, leaves the model as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.call import NORM_EPS, Familiar
from freeatten_core.positions.rope import Rope
from freeatten_core.positions.scalings import Scaling
from freeatten_core.variants.stages import Computed, stages_of
from freeatten_core.variants.variant import Variant

if TYPE_CHECKING:
    from freeatten_core.ops.call import Attend

__all__ = [
    "QueryFactor",
    "Temperatures",
    "modified_attention",
    "narrower",
    "query_factor",
    "scaled_rope",
    "window_of",
    "with_operator",
]

Temperatures = Mapping[int, float]
"""What `align` multiplies queries with, by the length of the text in tokens."""

TEMPER = 0.1
"""How much of the logarithm `temper` takes; the value of the models that have it."""

QueryFactor = Callable[[int], Tensor]
"""What the query of every position of a text of so many tokens is multiplied with, (length,)."""


def scaled_rope(rope: Rope, variant: Variant, longest: int) -> Rope:
    """The rotation under a modifier that scales it, for texts up to `longest` tokens."""
    for scaling in get_args(Scaling):
        modifier = variant.modifier(scaling)
        if modifier is not None:
            stretch = max(1.0, longest / rope.train_length)
            ramp = modifier.ramp
            return replace(rope, stretch=stretch, scaling=cast("Scaling", scaling), ramp=ramp)
    return rope


def window_of(variant: Variant, train_length: int) -> int | None:
    """How many keys a row sees at most under a variant's modifiers; None for all."""
    return train_length if variant.modifier("window") is not None else None


def narrower(one: int | None, other: int | None) -> int | None:
    """The smaller of two windows; None sees all."""
    known = [each for each in (one, other) if each is not None]
    return min(known, default=None)


def modified_attention(attend: Attend, rope: Rope, variant: Variant) -> Attend:
    """An attention operator under `swap`, `window`, `rerope`, and `infoscale` of cosines; it
    computes all of them."""
    window = window_of(variant, rope.train_length)
    familiar = Familiar(rope, rotation=True) if variant.modifier("rerope") is not None else None
    computed = variant.computes
    if variant.scales_cosines:
        attend = _InfoScaledCosine(attend, _InfoScale(rope.train_length, rope.dim))
    elif window is None and familiar is None and computed == variant.trained.computes:
        return attend
    return _ModifiedAttention(attend, computed, window, familiar)


# Classes and not closures, so that a model with modifiers can be pickled


@dataclass(frozen=True)
class _ModifiedAttention:
    """An operator asked for something else than the model asks for."""

    attend: Attend
    computed: Computed
    window: int | None
    familiar: Familiar | None

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, _: Computed, /, **others: Any
    ) -> Tensor:
        own = others.get("window")  # of a layer that sees fewer keys than all
        asked = {"window": narrower(self.window, own), "familiar": self.familiar}
        others |= {name: each for name, each in asked.items() if each is not None}
        return self.attend(query, key, value, self.computed, **others)


@dataclass(frozen=True)
class _InfoScaledCosine:
    """An operator whose cosines times a number are times InfoScale too (arXiv 2501.08570).

    The lengths of queries are no part of a cosine; of dot products of unit vectors they are.
    """

    attend: Attend
    factor: _InfoScale

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **others: Any
    ) -> Tensor:
        stages = stages_of(computed)
        assert stages.scale is not None
        query, key = (F.normalize(each, dim=-1, eps=NORM_EPS) for each in (query, key))
        scale = torch.full((query.shape[2],), stages.scale * math.sqrt(query.shape[3]))
        if others.get("window") is None:  # a local row sees few keys anyway
            scale = scale * self.factor(query.shape[2])
        dot = replace(stages, score="dot", scale=None)
        return self.attend(query * scale[:, None].to(query), key, value, dot, **others)


def with_operator(attend: Attend, old: Attend, new: Attend) -> Attend:
    """An attention, modified or not, that computes by another operator where it did by `old`."""
    if isinstance(attend, _ModifiedAttention):
        return replace(attend, attend=with_operator(attend.attend, old, new))
    if isinstance(attend, _InfoScaledCosine):
        return replace(attend, attend=with_operator(attend.attend, old, new))
    return new if attend is old else attend


def query_factor(
    variant: Variant, train_length: int, dim: int, temperatures: Temperatures | None
) -> QueryFactor | None:
    """What queries are multiplied with under `logn`, `infoscale`, `temper` and `align`; None for
    cosines, whose attention is modified instead.

    Raises:
        UsageError: `align` without temperatures, or later a text longer than any of them is for.
    """
    if variant.modifier("logn") is not None:
        return _LogN(train_length)
    if variant.scales_cosines:
        return None
    if variant.modifier("infoscale") is not None:
        return _InfoScale(train_length, dim)
    if variant.modifier("temper") is not None:
        return _Temper(train_length)
    if variant.modifier("align") is None:
        return None
    if temperatures is None:
        raise UsageError(
            f"{variant}: align needs temperatures fitted on text; freeatten compare and "
            "freeatten retrieve fit them"
        )
    return _Align({train_length: 1.0} | dict(temperatures))


@dataclass(frozen=True)
class _LogN:
    train_length: int

    def __call__(self, length: int) -> Tensor:
        return _known(length, self.train_length).log() / math.log(self.train_length)


@dataclass(frozen=True)
class _InfoScale:
    train_length: int
    dim: int

    def __call__(self, length: int) -> Tensor:
        familiar = math.sqrt(1 - self.train_length ** (-2 / self.dim))
        return _information(_known(length, self.train_length), self.dim) / familiar


@dataclass(frozen=True)
class _Temper:
    train_length: int

    def __call__(self, length: int) -> Tensor:
        times = torch.arange(length) // self.train_length
        return 1 + TEMPER * torch.log1p(times.double())


@dataclass(frozen=True)
class _Align:
    fitted: Temperatures

    def __call__(self, length: int) -> Tensor:
        return torch.full((length,), _temperature(self.fitted, length))


def _known(length: int, train_length: int) -> Tensor:
    """N of every position, at least L."""
    count = torch.arange(1, length + 1, dtype=torch.float64)
    return count.clamp(min=train_length)


def _information(count: Tensor, dim: int) -> Tensor:
    """`√(1 − N^(−2/D))` (arXiv 2501.08570)."""
    return (1 - count ** (-2 / dim)).sqrt()


def _temperature(fitted: Temperatures, length: int) -> float:
    """That of the shortest length that holds a text."""
    longer = [each for each in fitted if each >= length]
    if not longer:
        raise UsageError(f"align was fitted up to {max(fitted):,} tokens; the text has {length:,}")
    return fitted[min(longer)]
