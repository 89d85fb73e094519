"""What a measurement asks of a model."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["Observe"]

Observe = Callable[[int, Tensor, Tensor], None]
"""Called with (layer, query, key) of every layer, after the rotation."""
