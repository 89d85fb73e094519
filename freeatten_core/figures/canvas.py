"""What figures are made of: panels, axes, lines and their labels."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from freeatten_core.results.format import (
    Entry,
    Interval,
    Result,
    count,
    number,
    plural,
    signed,
    source_name,
    with_half_width,
)

from .styles import Style, markup, row_labels, row_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

Theme = Literal["light", "dark"]
Element = dict[str, Any]
"""A part of a Plotly figure in its JSON form."""

BESIDE_A_WINDOW = {
    "no better": "<br>(no better than a window)",
    "worse": "<br>(worse than a window)",
}
"""Beside a row's Δ, by its verdict: below 0 it would look like use of the context."""


@dataclass(frozen=True)
class Look:
    paper: str
    text: str
    soft: str
    grid: str
    veil: str
    """Behind texts that a line may cross."""
    hurts: str
    helps: str


_LOOKS: Mapping[str, Look] = {
    "light": Look(
        "#ffffff",
        "#1f2328",
        "#59636e",
        "#e3e6ea",
        "rgba(255,255,255,0.6)",
        "rgba(213,94,0,0.07)",
        "rgba(0,158,115,0.10)",
    ),
    "dark": Look(
        "#14171c",
        "#e6e8eb",
        "#a4acb6",
        "#30363d",
        "rgba(20,23,28,0.6)",
        "rgba(213,94,0,0.13)",
        "rgba(0,158,115,0.16)",
    ),
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"
CLEAR = "rgba(0,0,0,0)"
WIDTH, PANEL_HEIGHT, STACK_GAP = 1280, 400, 130
_LEFT, RIGHT, _TOP, _BOTTOM = 70, 240, 136, 64
_AXIS_WIDTH = 65
"""Of a panel's y axis, beside the labels of the panel at its left."""
_LINE_HEIGHT, _LABEL_PADDING, LABEL_REACH = 16, 4, 30
VALUE_WIDTH, _LABEL_COLUMNS = 53, 44
TITLE_SIZE, TEXT_SIZE = 20, 13
SLIM_LEFT, SLIM_RIGHT, SLIM_TICKS = 58, 14, 5
_SLIM = SLIM_LEFT, SLIM_LEFT + 32, SLIM_RIGHT
"""Without labels at the ends of lines; left, between panels, right."""


def look_of(theme: str) -> Look:
    if theme not in _LOOKS:
        raise ValueError(f"theme is {theme!r}; it can be light or dark")
    return _LOOKS[theme]


@dataclass(frozen=True)
class Space:
    """What the labels at the ends of lines leave and take, in pixels."""

    width: int
    """Of the whole figure."""
    height: int = PANEL_HEIGHT
    """Of a panel."""
    right: int = RIGHT
    """Of a panel's labels."""

    def fit(self, panel: Panel) -> Panel:
        return replace(panel, height=self.height)


def label_height(text: str) -> int:
    return _LINE_HEIGHT * (text.count("<br>") + 1) + _LABEL_PADDING


def _broken(label: str) -> str:
    """A label in lines of some 44 characters, broken where a part of a name begins."""
    lines = [""]
    for piece in re.split(r"(?<=<br>)|(?=[+:\[ ])", label):
        if lines[-1] and len(lines[-1].rsplit("<br>", 1)[-1] + piece) > _LABEL_COLUMNS:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(line.strip() for line in lines)


def _titled(axis: Element) -> Element:
    return axis | {"title": {"font": {"size": TEXT_SIZE}, "standoff": 8} | axis["title"]}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: which, where (fractions of the plotting area), its title and ranges."""

    key: str
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]
    heading: str
    x_axis: Element
    y_axis: Element
    height: int = PANEL_HEIGHT
    """In pixels."""

    @property
    def span(self) -> tuple[float, float]:
        low, high = self.y_axis["range"]
        return low, high

    def place(self, value: float) -> float:
        """A value in units of the y axis: on a log axis its logarithm."""
        return math.log10(value) if self.y_axis.get("type") == "log" else value

    def pixel(self, place: float) -> float:
        """How far below the upper edge a place lies."""
        low, high = self.span
        return (high - place) / (high - low) * self.height

    def axes(self, look: Look) -> Element:
        shared = {
            "gridcolor": look.grid,
            "linecolor": look.soft,
            "tickcolor": look.soft,
            "ticks": "outside",
            "zeroline": False,
            "zerolinecolor": look.text,
            "tickfont": {"size": 12},
        }
        return {
            f"xaxis{self.key}": {
                **shared,
                "domain": self.x_domain,
                "anchor": f"y{self.key}",
                "showgrid": False,
                "showline": True,
                **_titled(self.x_axis),
            },
            f"yaxis{self.key}": {
                **shared,
                "domain": self.y_domain,
                "anchor": f"x{self.key}",
                **_titled(self.y_axis),
            },
        }

    def note(self, text: str, x: float, y: float, **options: Any) -> Element:
        """A text at fractions of the panel, left-aligned unless told otherwise."""
        place = {"xref": f"x{self.key} domain", "yref": f"y{self.key} domain", "x": x, "y": y}
        return {"text": text, **place, "showarrow": False, "xanchor": "left", **options}

    def title(self, look: Look) -> Element:
        return self.note(
            self.heading, 0, 1, yanchor="bottom", yshift=8, align="left", font={"color": look.text}
        )


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
    text = "<br>".join(textwrap.wrap(f"no finite value: {', '.join(names)}", 2 * _LABEL_COLUMNS))
    place = {"xanchor": "right", "yanchor": "bottom", "align": "right", "font": {"size": 12}}
    return [panel.note(text, 0.98, height, **place)]


def padded(values: Sequence[float], low: float = 0.06, high: float = 0.06) -> list[float]:
    if not values:
        return [0.0, 1.0]
    least, most = min(values), max(values)
    room = (most - least) or abs(most) or 1.0
    return [least - low * room, most + high * room]


def length_axis(lengths: Sequence[int], most: int = 8) -> Element:
    """A log axis with a tick at every length; doublings are equally far apart."""
    edge = 0.04 if len(lengths) > 1 else 0.15
    reach = math.log10(max(lengths) / min(lengths)) * edge if len(lengths) > 1 else edge
    return {
        "type": "log",
        **length_ticks(lengths, most),
        "range": [math.log10(min(lengths)) - reach, math.log10(max(lengths)) + reach],
        "title": {"text": "context length (tokens)"},
    }


def length_ticks(lengths: Sequence[int], most: int = 8) -> Element:
    shown = list(lengths)
    while len(shown) > most:  # labels would run into each other
        shown = shown[::-2][::-1]
    return {"tickvals": shown, "ticktext": [count(length) for length in shown]}


def trained_mark(panel: Panel, lengths: Sequence[int], look: Look) -> list[Element]:
    return [
        {
            "type": "line",
            "xref": f"x{panel.key}",
            "yref": f"y{panel.key} domain",
            "x0": length,
            "x1": length,
            "y0": 0,
            "y1": 1,
            "line": {"color": look.soft, "dash": "dash", "width": 1.3},
            "layer": "below",
        }
        for length in lengths
    ]


def trained_note(panel: Panel, length: int, look: Look) -> Element:
    return {
        "text": "← trained up to here",
        "xref": f"x{panel.key}",
        "yref": f"y{panel.key} domain",
        "x": math.log10(length) if panel.x_axis.get("type") == "log" else length,
        "y": 1,
        "xanchor": "left",
        "yanchor": "top",
        "xshift": 4,
        "showarrow": False,
        "font": {"color": look.soft, "size": 12},
    }


def panel_domains(
    panels: int, space: Space, stacked: bool, *, labels: bool = True, below: bool = False
) -> list[tuple[Any, Any]]:
    columns, rows = (1, panels) if stacked else (panels, 1 + below)
    return grid_domains(columns, rows, space, labels=labels)


def grid_domains(
    columns: int, rows: int, space: Space, *, labels: bool = True
) -> list[tuple[Any, Any]]:
    """The domains of panels in columns and rows, row by row from the top."""
    left, between, right = (_LEFT, space.right + _AXIS_WIDTH, space.right) if labels else _SLIM
    across = between / max(space.width - left - right, columns * between)
    down = STACK_GAP / (rows * space.height + (rows - 1) * STACK_GAP)
    return [
        (share_of(column, columns, across), share_of(rows - 1 - row, rows, down))
        for row in range(rows)
        for column in range(columns)
    ]


def share_of(index: int, parts: int, gap: float) -> tuple[float, float]:
    """From where to where one of equal parts of 1 reaches, with gaps between them."""
    size = (1 - (parts - 1) * gap) / parts
    start = index * (size + gap)
    return start, min(start + size, 1.0)


def panel_figure(
    panels: Sequence[Panel],
    traces: Sequence[Element],
    shapes: Sequence[Element],
    notes: Sequence[Element],
    *,
    title: str,
    subtitle: str,
    look: Look,
    space: Space,
    stacked: bool,
    labels: bool = True,
) -> go.Figure:
    import plotly.graph_objects as go

    width = space.width
    left, right = (_LEFT, space.right) if labels else (SLIM_LEFT, SLIM_RIGHT)
    panels = [_with_short_lines(panel, width, left, right) for panel in panels]
    rows = len({panel.y_domain for panel in panels})
    headline = textwrap.wrap(title, int((width - _LEFT) / (0.6 * TITLE_SIZE)))
    details = textwrap.wrap(subtitle, int((width - _LEFT) / (0.64 * TEXT_SIZE)))
    top = _TOP + 26 * (len(headline) - 1) + 17 * (len(details) - 1)
    if not title:
        uppermost = panels[:1] if stacked else panels
        top = 16 + 17 * max(panel.heading.count("<br>") + 1 for panel in uppermost)
    height = rows * space.height + (rows - 1) * STACK_GAP + top + _BOTTOM
    layout: Element = {
        "width": width,
        "height": height,
        "margin": {"l": left, "r": right, "t": top, "b": _BOTTOM},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": FONT, "size": TEXT_SIZE, "color": look.text},
        "showlegend": False,
        "hovermode": "closest",
        "shapes": list(shapes),
        "annotations": [*(panel.title(look) for panel in panels), *notes],
        "meta": {"background": look.paper},
    }
    if title:
        layout["title"] = {
            "text": f"<b>{'<br>'.join(headline)}</b>",
            "subtitle": {
                "text": "<br>".join(line.removeprefix("· ") for line in details),
                "font": {"size": TEXT_SIZE, "color": look.soft},
            },
            "x": 0,
            "xref": "paper",
            "y": 1 - (22 + 14 * (len(headline) - 1)) / height,
            "yref": "container",
            "yanchor": "top",
            "font": {"size": TITLE_SIZE},
        }
    for panel in panels:
        layout |= panel.axes(look)
    return go.Figure(data=list(traces), layout=layout)


def _with_short_lines(panel: Panel, width: int, left: int, right: int) -> Panel:
    """The same with a heading that fits above it and the labels at its right."""
    low, high = panel.x_domain
    room = int(((width - left - right) * (high - low) + right) / (0.5 * TEXT_SIZE))
    lines = [part for line in panel.heading.split("<br>") for part in textwrap.wrap(line, room)]
    return replace(panel, heading="<br>".join(lines))


def texts_line(result: Result) -> str:
    return f"{plural(result['texts'], 'text')} of {markup(source_name(result['text']['source']))}"


def machine(result: Result) -> str:
    return f"{result['device']}, {result['dtype']}"


def interval_list(row: Entry, key: str, length: int) -> list[Interval]:
    return list(row.get(key) or [None] * length)


def length_lines(
    result: Result,
    key: str,
    interval_key: str,
    unit: str,
    form: Any,
    told: Callable[[str, Interval], str] = with_half_width,
) -> list[Line]:
    rows, lengths = result["variants"], result["lengths"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        intervals = interval_list(row, interval_key, len(lengths))
        hover = [
            f"{label}<br>{count(length)} tokens: {told(form(value), interval)} {unit}"
            for length, value, interval in zip(lengths, row[key], intervals, strict=True)
        ]
        shown = label + (BESIDE_A_WINDOW.get(row["verdict"], "") if key == "delta" else "")
        lines.append(Line(shown, style, lengths, row[key], intervals, hover))
    return lines
