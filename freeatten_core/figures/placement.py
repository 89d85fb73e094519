"""Labels beside points, none over another: the nearest free place, joined by a thin stroke."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "placed_labels"]

GAP, RINGS, TURNS = 5.0, 24, 24
"""Pixels between a point and its label, and between rings of places around it; how many of each."""


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre and size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        """Whether they have a part in common."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < (self.height + other.height) / 2
        )

    def crossed(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether a stroke passes through it, looked at in steps of some pixels."""
        steps = 1 + int(math.dist(start, end) / 4)
        return any(
            abs(start[0] + (end[0] - start[0]) * at / steps - self.x) < self.width / 2
            and abs(start[1] + (end[1] - start[1]) * at / steps - self.y) < self.height / 2
            for at in range(steps + 1)
        )

    def within(self, width: float, height: float) -> bool:
        """Whether it lies in a plot of this size."""
        across, down = self.width / 2, self.height / 2
        return across <= self.x <= width - across and down <= self.y <= height - down


def placed_labels(
    points: Sequence[tuple[float, float]],
    widths: Sequence[float],
    height: float,
    plot: tuple[float, float],
    mark: float = 10.0,
) -> list[Box]:
    """Where labels stand, in the order of their points.

    The most crowded point has the first choice; no stroke passes through a label where there is
    such a place, and a label that finds no free place stands where it would stand alone.

    Args:
        points: x and y in pixels from the upper left corner of the plot.
        widths: of the labels.
        height: of each.
        plot: its width and height.
        mark: the size of a point's sign.
    """
    signs = [Box(x, y, mark, mark) for x, y in points]
    order = sorted(range(len(points)), key=lambda at: _room(points, at))
    found: dict[int, Box] = {}

    def free(box: Box) -> bool:
        others = [*signs, *found.values()]
        return box.within(*plot) and not any(box.meets(other) for other in others)

    def clear(at: int, box: Box) -> bool:
        return not any(
            other.crossed(points[at], (box.x, box.y))
            or box.crossed(points[has], (other.x, other.y))
            for has, other in found.items()
        )

    for at in order:
        places = list(_places(*points[at], widths[at], height, mark))
        unused = [box for box in places if free(box)]
        found[at] = next((box for box in unused if clear(at, box)), (unused or places)[0])
    return [found[at] for at in range(len(points))]


def _room(points: Sequence[tuple[float, float]], at: int) -> float:
    """The distance to the third point from here, the nearer the more crowded."""
    near = sorted(math.dist(points[at], other) for other in points)
    return near[min(3, len(near) - 1)]


def _places(x: float, y: float, width: float, height: float, mark: float) -> Iterator[Box]:
    """Right, left, below and above the point, then rings farther out."""
    aside = (mark + width) / 2 + GAP
    across = (mark + height) / 2 + 1
    for ring in range(RINGS):
        far = ring * 2 * GAP
        for turn in range(TURNS if ring else 4):
            angle = 2 * math.pi * turn / (TURNS if ring else 4)
            yield Box(
                x + (aside + far) * math.cos(angle),
                y + (across + far) * math.sin(angle),
                width,
                height,
            )
