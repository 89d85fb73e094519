"""Labels beside points, none over another: the nearest free place, joined by a thin stroke."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

__all__ = ["Box", "Stroke", "placed_labels"]

GAP, RINGS, TURNS, NEAR = 5.0, 24, 24, 200
"""Pixels between a point and its label, and between rings of places around it; how many of each,
and how many free places are looked at."""

Stroke = tuple[tuple[float, float], tuple[float, float]]


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
        """Whether a stroke passes through it."""
        first, last = 0.0, 1.0
        for begin, stop, middle, size in (
            (start[0], end[0], self.x, self.width),
            (start[1], end[1], self.y, self.height),
        ):
            low, high, way = middle - size / 2 - begin, middle + size / 2 - begin, stop - begin
            if not way:
                if not low < 0 < high:
                    return False
                continue
            low, high = sorted((low / way, high / way))
            first, last = max(first, low), min(last, high)
        return first < last

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
    strokes: Sequence[Stroke] = (),
) -> list[Box]:
    """Where labels stand, in the order of their points.

    No stroke passes through a label or another point where there is such a place: of two orders of
    choice the first that finds one for all, or that with the fewest crossings. A label that
    finds no free place stands where it would stand alone.

    Args:
        points: x and y in pixels from the upper left corner of the plot.
        widths: of the labels.
        height: of each.
        plot: its width and height.
        mark: the size of a point's sign.
        strokes: what is drawn besides, by its ends, and should pass through no label.
    """
    every = range(len(points))
    orders = [
        sorted(every, key=lambda at: _room(points, at)),
        sorted(every, key=lambda at: points[at]),
    ]
    signs = [Box(x, y, mark, mark) for x, y in points]
    places = [
        list(_places(x, y, width, height, mark))
        for (x, y), width in zip(points, widths, strict=True)
    ]
    tried = []
    for order in orders:
        tried.append(_in_order(order, signs, places, plot, strokes))
        if tried[-1][0] == 0:
            break
    return min(tried, key=lambda each: each[0])[1]


def _in_order(
    order: Sequence[int],
    signs: Sequence[Box],
    places: Sequence[Sequence[Box]],
    plot: tuple[float, float],
    strokes: Sequence[Stroke],
) -> tuple[int, list[Box]]:
    """How many crossings there are, and the labels placed one after another."""
    found: dict[int, Box] = {}
    taken = list(signs)

    def free(box: Box) -> bool:
        return box.within(*plot) and not any(box.meets(other) for other in taken)

    def crossings(at: int, box: Box) -> int:
        point, end = (signs[at].x, signs[at].y), (box.x, box.y)
        count = sum(box.crossed(*stroke) for stroke in strokes)
        count += sum(sign.crossed(point, end) for sign in signs if not sign.meets(signs[at]))
        for has, other in found.items():
            count += other.crossed(point, end)
            count += box.crossed((signs[has].x, signs[has].y), (other.x, other.y))
        return count

    total = 0
    for at in order:
        least, best = math.inf, places[at][0]
        for box in islice(filter(free, places[at]), NEAR):
            count = crossings(at, box)
            if count < least:
                least, best = count, box
            if count == 0:
                break
        total += crossings(at, best) if math.isinf(least) else int(least)
        found[at] = best
        taken.append(best)
    return total, [found[at] for at in range(len(signs))]


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
