"""How long work reports what is done of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Advance", "Meter", "Watch", "about", "ignore"]

Advance = Callable[[float, float], None]
"""Called with (cost done, cost in all); an exception raised in it cancels the work."""


def about(seconds: float) -> str:
    """`about 40 s`, `about 3 min` or `about 2.5 h`: no more digits than a forecast has."""
    if seconds < 100:
        return f"about {max(1, seconds):.0f} s"
    if seconds < 6000:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def ignore(done: float, whole: float) -> None:
    """No progress wanted."""


class Meter:
    """Counts cost towards a whole and reports it."""

    def __init__(self, whole: float, advance: Advance) -> None:
        self.whole, self.done, self._advance = whole, 0.0, advance

    def add(self, cost: float) -> None:
        self.done = min(self.whole, self.done + cost)
        self._advance(self.done, self.whole)

    def finish(self) -> None:
        self.add(self.whole)


@dataclass(frozen=True)
class Watch:
    """Called while a comparison runs."""

    total: Callable[[float], None] = lambda _: None
    """The cost of the whole, before it starts."""
    advance: Callable[[float], None] = lambda _: None
    """The cost of what was just scored."""
    row: Callable[[Mapping[str, Any], int, int], None] = lambda *_: None
    """A row so far, with the number of texts it rests on and of all texts."""
    seconds: Callable[[float], None] | None = None
    """About how long the whole will take, before it starts; a probe finds out if this is given."""

    def of_all_ranks(self, count: int) -> Watch:
        """Told of one rank's share as if all were equally far."""
        return replace(self, advance=lambda cost: self.advance(cost * count))
