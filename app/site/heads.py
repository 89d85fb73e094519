"""Which heads the site shows: one of each model, chosen by a statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freeatten_core.analysis import STATISTICS, Capture, head_table
from freeatten_core.analysis.rows import Name
from freeatten_core.analysis.same_text import capture_rows
from freeatten_core.basics.devices import choose_device
from freeatten_core.basics.progress import Advance
from freeatten_core.data.documents import Document
from freeatten_core.models.rows import Row, load_rows
from freeatten_core.variants.variant import Variant

__all__ = ["CHOICES", "Choice", "Picked", "Seen", "load", "look", "pick"]

VARIANTS = ("softmax", "softmax-ls", "lssa", "lssar:p=15")


@dataclass(frozen=True)
class Choice:
    """A rule that picks one head of every model: the largest mean of a statistic."""

    name: str
    """What such a head is."""
    statistic: Name
    digits: int

    def text(self, value: float) -> str:
        unit = STATISTICS[self.statistic].unit
        return f"{value:,.{self.digits}f} {unit}".strip()


CHOICES = (
    Choice("the head that looks farthest back", "mean_distance", 0),
    Choice("the sharpest head", "largest", 3),
    Choice("the head with the strongest sink", "first", 3),
)


@dataclass(frozen=True)
class Picked:
    """A head of a model, and the mean that it was picked for."""

    capture: Capture
    layer: int
    head: int
    value: float

    @property
    def file(self) -> str:
        """A name for the map's data."""
        return f"map-{self.capture.name}-{self.layer}-{self.head}"


@dataclass(frozen=True)
class Seen:
    """Models over one text, and the heads picked of them."""

    captures: Sequence[Capture]
    text: str
    """Its name."""
    picked: Sequence[Sequence[Picked]]
    """By choice, then by model."""


def load() -> list[Row]:
    """The models that are shown."""
    return load_rows([Variant.parse(name) for name in VARIANTS], [])


def look(
    rows: Sequence[Row],
    documents: Sequence[Document],
    length: int,
    advance: Callable[[str], Advance],
) -> Seen:
    """Read one text with every model and pick the heads.

    Raises:
        UsageError: no text is long enough, or too little memory.
    """
    captures, name = capture_rows(
        rows, documents, length, device=choose_device("auto"), advance=advance
    )
    picked = [[pick(capture, choice) for capture in captures] for choice in CHOICES]
    return Seen(captures, name, picked)


def pick(capture: Capture, choice: Choice) -> Picked:
    """The head of a model that a rule picks."""
    first = head_table(capture).sorted(choice.statistic).heads[0]
    return Picked(capture, first.layer, first.head, first.values[choice.statistic])
