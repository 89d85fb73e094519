"""Model cards: what a checkpoint is, how it was made and what was measured, from stored data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .variants import Variant


def card(variant: Variant, about: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    return f"# {variant}\n"
