"""Lines of a panel, the labels at their ends, and the space that those take."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from freeatten_core.results.format import (
    Entry,
    Interval,
    Result,
    count,
    number,
    scaled,
    signed,
    with_half_width,
)

from .canvas import LABEL_ROOM, PANEL_HEIGHT, Element, Panel, Space
from .styles import Style, row_labels, row_styles

__all__ = [
    "Line",
    "Part",
    "end_labels",
    "interval_list",
    "label_height",
    "length_lines",
    "line_labels",
    "missing_note",
    "names_beside",
    "names_width",
    "near_range",
    "percent_rows",
    "space_for",
    "text_width",
]

LINE_HEIGHT, LABEL_PADDING, LABEL_REACH = 16, 4, 30
VALUE_WIDTH, LABEL_COLUMNS = 53, 44
"""In pixels: of a label's line and around it, how far from the line's end it stands, of its number;
and the characters of a label's line."""
NAMES_GAP, SIGN_WIDTH = 14, 16
"""Pixels between a panel of groups and the names of its rows, and of the sign before each."""
WINDOW_VERDICTS = {
    "no better": "<br>(no better than a window)",
    "worse": "<br>(worse than a window)",
}
"""Added to the label of a Δ by its verdict: below 0 it would look like use of the context."""


@dataclass(frozen=True)
class Line:
    label: str
    style: Style
    x: Sequence[float]
    y: Sequence[float | None]
    intervals: Sequence[Interval]
    hover: Sequence[str]

    @property
    def shown(self) -> str:
        """Its label, in lines."""
        return _broken(self.label)

    @property
    def end(self) -> tuple[float, float] | None:
        """The last point that has a number."""
        points = [(x, y) for x, y in zip(self.x, self.y, strict=True) if y is not None]
        points = [point for point in points if math.isfinite(point[1])]
        return points[-1] if points else None

    def values(self, reach: float = math.inf) -> list[float]:
        """Every finite value, with its interval as far as `reach` from it."""
        found = []
        for value, interval in zip(self.y, self.intervals, strict=True):
            if value is not None and math.isfinite(value):
                below, above = _bars(value, interval) or (0.0, 0.0)
                found += [value - min(below, reach), value + min(above, reach)]
        return found

    def trace(self, panel: Panel, *, markers: bool = True) -> Element:
        bars = [_bars(*pair) for pair in zip(self.y, self.intervals, strict=True)]
        trace = {
            "type": "scatter",
            "mode": "lines+markers" if markers else "lines",
            "name": self.label.replace("<br>", " "),
            "x": list(self.x),
            "y": list(self.y),
            "xaxis": f"x{panel.key}",
            "yaxis": f"y{panel.key}",
            "line": {"color": self.style.color, "dash": self.style.dash, "width": 2.2},
            "hovertext": list(self.hover),
            "hoverinfo": "text",
        }
        if markers:
            trace["marker"] = {"symbol": self.style.marker, "size": 8, "color": self.style.color}
        if any(bars):
            trace["error_y"] = {
                "type": "data",
                "symmetric": False,
                "arrayminus": [pair and pair[0] for pair in bars],
                "array": [pair and pair[1] for pair in bars],
                "thickness": 1,
                "width": 3,
                "color": self.style.color,
            }
        return trace


class Part(NamedTuple):
    """What a panel brings into a figure."""

    panels: list[Panel]
    traces: list[Element]
    shapes: list[Element]
    notes: list[Element]


def _bars(value: float | None, interval: Interval) -> tuple[float, float] | None:
    """How far the interval of a value reaches below and above it."""
    low, high = interval or (None, None)
    if value is None or low is None or high is None or not math.isfinite(high - low):
        return None
    return value - low, high - value


def _spread(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Centres of labels, near where they are wanted, in their order and without overlap."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    centres = list(wanted)
    edge = -math.inf
    for index in order:
        centres[index] = max(centres[index], edge + heights[index] / 2, heights[index] / 2)
        edge = centres[index] + heights[index] / 2
    edge = max(room, sum(heights))
    for index in reversed(order):
        centres[index] = min(centres[index], edge - heights[index] / 2)
        edge = centres[index] - heights[index] / 2
    return centres


def end_labels(panel: Panel, lines: Sequence[Line], digits: int, sign: bool) -> list[Element]:
    """A label with its last number at every line's end."""
    low, high = panel.span

    def form(value: float) -> str:
        arrow = "↑ " if value > high else "↓ " if value < low else ""
        digits_here = 2 if arrow else digits
        return arrow + (signed(value, digits_here) if sign else number(value, digits_here))

    return line_labels(panel, lines, form)


def line_labels(panel: Panel, lines: Sequence[Line], form: Callable[[float], str]) -> list[Element]:
    """A label in the line's colour at every line's end, joined to it by a thin stroke."""
    placed = [(line, line.end) for line in lines]
    shown = [(line, end) for line, end in placed if end is not None]
    texts = [f"{line.shown} <b>{form(value)}</b>" for line, (_, value) in shown]
    heights = list(map(label_height, texts))
    # What is off the scale keeps its order among its like by a little of its distance.
    aims = [_aim(panel, panel.place(end[1])) for _, end in shown]
    centres = _spread(aims, heights, panel.height)
    return [
        _end_label(panel, line, end, text, centre)
        for (line, end), text, centre in zip(shown, texts, centres, strict=True)
    ]


def _aim(panel: Panel, value: float) -> float:
    low, high = panel.span
    over = max(value - high, 0.0) - max(low - value, 0.0)
    return panel.pixel(min(max(value, low), high)) - 0.1 * math.tanh(over)


def _end_label(
    panel: Panel, line: Line, end: tuple[float, float], text: str, centre: float
) -> Element:
    x, y = end[0], panel.place(end[1])
    low, high = panel.span
    at = math.log10(x) if panel.x_axis.get("type") == "log" else x
    label: Element = {
        "text": text,
        "align": "left",
        "xanchor": "left",
        "font": {"color": line.style.color, "size": 12},
    }
    if low <= y <= high:
        return label | {
            "xref": f"x{panel.key}",
            "yref": f"y{panel.key}",
            "x": at,
            "y": y,
            "ax": LABEL_REACH,
            "ay": centre - panel.pixel(y),
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 1,
            "arrowcolor": line.style.color,
            "standoff": 5,
        }
    return (
        label
        | panel.note(text, at, 1, yanchor="middle", yshift=-centre)
        | {
            "xref": f"x{panel.key}",
            "xshift": LABEL_REACH,
        }
    )


def missing_note(panel: Panel, lines: Sequence[Line], height: float = 0.02) -> list[Element]:
    names = [line.label.replace("<br>", " ") for line in lines if line.end is None]
    if not names:
        return []
    text = "<br>".join(textwrap.wrap(f"no finite value: {', '.join(names)}", 2 * LABEL_COLUMNS))
    place = {"xanchor": "right", "yanchor": "bottom", "align": "right", "font": {"size": 12}}
    return [panel.note(text, 0.98, height, **place)]


def names_width(texts: Sequence[str]) -> int:
    """What `names_beside` takes at the right of its panel."""
    parts = [part for text in texts for part in text.split("<br>")]
    return math.ceil(max(map(text_width, parts), default=0.0)) + NAMES_GAP + SIGN_WIDTH


def names_beside(panel: Panel, lines: Sequence[Line], texts: Sequence[str]) -> list[Element]:
    """The rows in their order, from the top: that of the points of a group, from the left.

    Args:
        texts: what stands for each, behind its sign.
    """
    notes, below = [], 0.0
    for line, text in zip(lines, texts, strict=True):
        below += label_height(text) / 2
        font = {"color": line.style.color, "size": 12}
        place = {"yanchor": "middle", "yshift": -below, "xshift": NAMES_GAP, "align": "left"}
        notes.append(panel.note(f"{line.style.sign} {text}", 1, 1, font=font, **place))
        below += label_height(text) / 2
    return notes


_ZOOM = 0.5
"""Lines whose Δ stays below this set the scale of an enlarged panel."""


def near_range(lines: Sequence[Line]) -> tuple[float, float]:
    """The axis of a panel that is enlarged near 0: what lies far off has only its label there."""
    near = [line for line in lines if max(map(abs, line.values(reach=0)), default=math.inf) < _ZOOM]
    values = [value for line in (near or lines) for value in line.values(reach=0.1)]
    high = max([*values, 0.05]) * 1.15
    return min(min(values, default=0.0) * 1.5, -0.35 * high), high


def label_height(text: str) -> int:
    return LINE_HEIGHT * (text.count("<br>") + 1) + LABEL_PADDING


def _broken(label: str) -> str:
    """A label in lines of some 44 characters, broken where a part of a name begins."""
    lines = [""]
    for piece in re.split(r"(?<=<br>)|(?=[+:\[ ])", label):
        if lines[-1] and len(lines[-1].rsplit("<br>", 1)[-1] + piece) > LABEL_COLUMNS:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(line.strip() for line in lines)


def space_for(width: int, *drawn: Sequence[Line], columns: int = 1, labels: bool = True) -> Space:
    """Panels as high as their labels, a figure wider than asked for when labels need it.

    Args:
        width: that is asked for.
        drawn: the lines of every panel.
        columns: panels side by side.
        labels: whether lines have labels at their ends.
    """
    if not labels:
        return Space(width)
    heights = [sum(map(label_height, (line.shown for line in lines))) for lines in drawn]
    texts = [part for lines in drawn for line in lines for part in line.shown.split("<br>")]
    widest = max(map(text_width, texts), default=0.0)
    right = max(LABEL_ROOM, math.ceil(LABEL_REACH + widest + VALUE_WIDTH))
    height = max([PANEL_HEIGHT, *heights])
    return Space(width + columns * (right - LABEL_ROOM), height, right)


def text_width(text: str) -> float:
    """About how many pixels a text of 12 pixels takes."""
    slim = sum(text.count(letter) for letter in " .,:;()[]|'!ijltfrI")
    broad = sum(text.count(letter) for letter in "mwMW+=√−↑↓→%@")
    return 4.0 * slim + 10.5 * broad + 7.4 * (len(text) - slim - broad)


def interval_list(row: Entry, key: str, length: int) -> list[Interval]:
    return list(row.get(key) or [None] * length)


def percent_rows(result: Result, key: str) -> list[Entry]:
    """The rows with a share and its intervals in percent."""
    return [
        row
        | {
            key: [None if value is None else 100 * value for value in row[key]],
            f"{key}_ci95": [scaled(pair, 100) for pair in row[f"{key}_ci95"]],
        }
        for row in result["variants"]
    ]


def length_lines(
    result: Result,
    key: str,
    interval_key: str,
    unit: str,
    form: Callable[[float | None], str],
    with_interval: Callable[[str, Interval], str] = with_half_width,
) -> list[Line]:
    rows, lengths = result["variants"], result["lengths"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        intervals = interval_list(row, interval_key, len(lengths))
        hover = [
            f"{label}<br>{count(length)} tokens: {with_interval(form(value), interval)} {unit}"
            for length, value, interval in zip(lengths, row[key], intervals, strict=True)
        ]
        shown = label + (WINDOW_VERDICTS.get(row["verdict"], "") if key == "delta" else "")
        lines.append(Line(shown, style, lengths, row[key], intervals, hover))
    return lines
