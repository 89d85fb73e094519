"""What a measurement asks of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from freeatten_core.ops.call import NO_TERMS, ScoreTerms
from freeatten_core.variants.stages import Computed

__all__ = ["Observe", "Reading"]


@dataclass(frozen=True)
class Reading:
    """How a layer makes weights of the queries and keys that it shows."""

    computed: Computed
    window: int | None = None
    """A row sees at most this many keys, its own included; None for all before it."""
    terms: ScoreTerms = NO_TERMS
    """What else its scores are given, a row a head."""


Observe = Callable[[int, Tensor, Tensor, Reading], None]
"""Called with a layer's number, its queries (B, H, L, D) and keys (B, Hkv, L, D) as the scores see
them, and how it reads them."""
