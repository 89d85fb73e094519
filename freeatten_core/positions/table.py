"""How a model can know order, by the name that is typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["POSITIONS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A position that a head can be trained with."""

    meaning: str
    source: str
    rotates: bool = False
    """Whether queries and keys are turned (`rope`)."""
    slopes: bool = False
    """Whether scores fall with the distance (`alibi`)."""


POSITIONS: Mapping[str, Kind] = {
    "rope": Kind("queries and keys rotated by their place", "arXiv 2104.09864", rotates=True),
    "alibi": Kind(
        "2^(−8h/H) a token taken from the score of head h of H", "arXiv 2108.12409", slopes=True
    ),
    "none": Kind("no position", "arXiv 2305.19466"),
}
"""Unless a name says otherwise, the first."""
