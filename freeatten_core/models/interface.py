"""What a measurement asks of a model."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from freeatten_core.ops.call import ScoreTerms

__all__ = ["Observe"]


class Observe(Protocol):
    """Called with what every layer gives its attention."""

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, terms: ScoreTerms, window: int | None, /
    ) -> None:
        """query (B, H, L, D) and key (B, Hkv, L, D) after the rotation; the layer's own window."""
        ...
