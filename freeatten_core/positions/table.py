"""How a model can know order, by the name that is typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .clex import LARGEST_STRETCH, WIDENING
from .drope import DROPPED

__all__ = ["POSITIONS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A position that a head can be trained with."""

    meaning: str
    source: str
    rotates: bool = False
    """Whether queries and keys are turned (`rope`)."""
    scalable: bool = False
    """Whether the rotation can be scaled at inference."""
    doubles: bool = False
    """Whether queries and keys get twice their size (`pope`), in all heads of a layer."""
    slopes: bool = False
    """Whether scores fall with the distance (`alibi`)."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What it is made with, besides the base; a checkpoint says them."""


POSITIONS: Mapping[str, Kind] = {
    "rope": Kind(
        "queries and keys rotated by their place", "arXiv 2104.09864", rotates=True, scalable=True
    ),
    "alibi": Kind(
        "2^(−8h/H) a token taken from the score of head h of H", "arXiv 2108.12409", slopes=True
    ),
    "none": Kind("no position", "arXiv 2305.19466"),
    "clex": Kind(
        "rope whose frequencies a learned equation moves with the length",
        "arXiv 2310.16450",
        rotates=True,
        numbers={"stretches": LARGEST_STRETCH, "widening": WIDENING},
    ),
    "pope": Kind(
        "softplus of q and k says how much, a rotation of all dimensions where",
        "arXiv 2509.10534",
        rotates=True,
        doubles=True,
    ),
    "drope": Kind(
        "rope, dropped before the last eighth of the training",
        "arXiv 2512.12167",
        rotates=True,
        numbers={"dropped": DROPPED},
    ),
    "random": Kind(
        f"rope, trained at places drawn from up to {LARGEST_STRETCH} times the length",
        "control of arXiv 2310.16450",
        rotates=True,
        scalable=True,
        numbers={"stretches": LARGEST_STRETCH},
    ),
    "yarn": Kind(
        f"rope stretched {LARGEST_STRETCH} times by YaRN from the start",
        "arXiv 2309.00071, control of arXiv 2310.16450",
        rotates=True,
        numbers={"stretch": LARGEST_STRETCH},
    ),
}
"""Unless a name says otherwise, the first."""
