"""What figures are made of: panels, axes, lines and their labels."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, Unpack

from freeatten_core.results.format import (
    Result,
    count,
    plural,
    source_name,
)

from .colours import legible
from .short_lines import short_lines
from .styles import markup

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "CLEAR",
    "FONT",
    "LABEL_ROOM",
    "PANEL_HEIGHT",
    "SLIM_LEFT",
    "SLIM_RIGHT",
    "SLIM_TICKS",
    "STACK_GAP",
    "TEXT_SIZE",
    "TITLE_SIZE",
    "WIDTH",
    "Drawing",
    "Element",
    "Look",
    "Panel",
    "PanelOptions",
    "Space",
    "Theme",
    "grid_domains",
    "half_planes",
    "heading_lines",
    "length_axis",
    "length_ticks",
    "level_mark",
    "look_of",
    "machine",
    "padded",
    "panel_domains",
    "panel_drawing",
    "panel_figure",
    "share_of",
    "texts_line",
    "trained_mark",
    "trained_note",
]

Theme = Literal["light", "dark"]
Element = dict[str, Any]
"""A part of a Plotly figure in its JSON form."""


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
_LEFT, LABEL_ROOM, _TOP, _BOTTOM = 70, 240, 136, 64
_AXIS_WIDTH = 65
"""Of a panel's y axis, beside the labels of the panel at its left."""
TITLE_SIZE, TEXT_SIZE = 20, 13
_CHARACTER = 6.3
"""The width of a letter of a note, in pixels."""
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
    right: int = LABEL_ROOM
    """Of a panel's labels."""
    below: tuple[int, ...] = ()
    """Heights of panels that lie below the others, each in a row of its own."""
    gap: int = STACK_GAP
    """Between rows of panels."""

    def fit(self, panel: Panel) -> Panel:
        left, right = panel.x_domain
        width = round((right - left) * self.plotted(labels=True))
        return replace(panel, height=self.height, width=width)

    def plotted(self, *, labels: bool) -> int:
        """How wide the panels are, all columns together."""
        return self.width - (_LEFT + self.right if labels else SLIM_LEFT + SLIM_RIGHT)


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
    width: int = WIDTH
    """In pixels, of a panel with labels beside it."""

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


def trained_mark(panel: Panel, lengths: Sequence[float], look: Look) -> list[Element]:
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


def level_mark(panel: Panel, value: float, look: Look) -> Element:
    """A dotted line across a panel at a value."""
    return {
        "type": "line",
        "xref": f"x{panel.key} domain",
        "yref": f"y{panel.key}",
        **{"x0": 0, "x1": 1, "y0": value, "y1": value},
        "line": {"color": look.soft, "dash": "dot", "width": 1.3},
        "layer": "below",
    }


def half_planes(panel: Panel, look: Look) -> list[Element]:
    """A panel of Δ shaded above 0, where longer context hurts, and below, where it helps."""
    low, high = panel.span
    place = {"xref": f"x{panel.key} domain", "yref": f"y{panel.key}", "x0": 0, "x1": 1}
    area = {"type": "rect", "line": {"width": 0}, "layer": "below", **place}
    return [
        area | {"y0": 0, "y1": high, "fillcolor": look.hurts},
        area | {"y0": low, "y1": 0, "fillcolor": look.helps},
    ]


def trained_note(
    panel: Panel, length: int, look: Look, *, declared: bool = False, whose: str = ""
) -> Element:
    """What a mark says: where training ended, or what a model of others declares; `whose` it is.

    Left of a mark that is so near the right edge that the words would run into the labels there.
    """
    words = f"{whose}{'declared' if declared else 'trained up to here'}"
    x = math.log10(length) if panel.x_axis.get("type") == "log" else length
    low, high = panel.x_axis["range"]
    right = (high - x) / (high - low)
    is_left = right < 0.5 and right * panel.width < (len(words) + 2) * _CHARACTER
    side = {"xanchor": "right", "xshift": -4} if is_left else {"xanchor": "left", "xshift": 4}
    return {
        "text": f"{words} →" if is_left else f"← {words}",
        "xref": f"x{panel.key}",
        "yref": f"y{panel.key} domain",
        "x": x,
        "y": 1,
        "yanchor": "top",
        **side,
        "showarrow": False,
        "font": {"color": look.soft, "size": 12},
    }


def panel_domains(
    panels: int, space: Space, stacked: bool, *, labels: bool = True
) -> list[tuple[Any, Any]]:
    """Domains of panels side by side or stacked, and of those below them."""
    columns, rows = (1, panels) if stacked else (panels, 1)
    across = _column_domains(columns, space, labels=labels)
    down = _row_domains([space.height] * rows + [*space.below], space.gap)
    above = [(x_domain, y_domain) for y_domain in down[:rows] for x_domain in across]
    return above + [((0.0, 1.0), y_domain) for y_domain in down[rows:]]


def grid_domains(
    columns: int, rows: int, space: Space, *, labels: bool = True
) -> list[tuple[Any, Any]]:
    """The domains of panels in columns and rows, row by row from the top."""
    across = _column_domains(columns, space, labels=labels)
    down = _row_domains([space.height] * rows, space.gap)
    return [(x_domain, y_domain) for y_domain in down for x_domain in across]


def _column_domains(columns: int, space: Space, *, labels: bool) -> list[tuple[float, float]]:
    left, between, right = (_LEFT, space.right + _AXIS_WIDTH, space.right) if labels else _SLIM
    gap = between / max(space.width - left - right, columns * between)
    return [share_of(column, columns, gap) for column in range(columns)]


def _row_domains(heights: Sequence[int], gap: int) -> list[tuple[float, float]]:
    """From the top, by their pixels."""
    whole = _height(heights, gap)
    domains, top = [], whole
    for height in heights:
        domains.append((max(0.0, (top - height) / whole), top / whole))
        top -= height + gap
    return domains


def _height(heights: Sequence[int], gap: int) -> int:
    return sum(heights) + (len(heights) - 1) * gap


def share_of(index: int, parts: int, gap: float) -> tuple[float, float]:
    """From where to where one of equal parts of 1 reaches, with gaps between them."""
    size = (1 - (parts - 1) * gap) / parts
    start = index * (size + gap)
    return start, min(start + size, 1.0)


class Drawing(TypedDict):
    """A figure in Plotly's JSON form, which takes a tenth of the time that `go.Figure` takes."""

    data: list[Element]
    layout: Element


def panel_figure(
    panels: Sequence[Panel],
    traces: Sequence[Element],
    shapes: Sequence[Element],
    notes: Sequence[Element],
    **options: Unpack[PanelOptions],
) -> go.Figure:
    """What `panel_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(panel_drawing(panels, traces, shapes, notes, **options))


class PanelOptions(TypedDict):
    """What `panel_drawing` takes by name."""

    title: str
    subtitle: str
    look: Look
    space: Space
    stacked: bool
    labels: NotRequired[bool]


def panel_drawing(
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
) -> Drawing:
    width = space.width
    left, right = (_LEFT, space.right) if labels else (SLIM_LEFT, SLIM_RIGHT)
    panels = [_fitted(panel, space, labels) for panel in panels]
    rows = len({panel.y_domain for panel in panels}) - len(space.below)
    headline = textwrap.wrap(title, int((width - _LEFT) / (0.6 * TITLE_SIZE)))
    details = textwrap.wrap(subtitle, int((width - _LEFT) / (0.64 * TEXT_SIZE)))
    top = _TOP + 26 * (len(headline) - 1) + 17 * (len(details) - 1)
    if not title:
        uppermost = panels[:1] if stacked else panels
        top = 16 + 17 * max(panel.heading.count("<br>") + 1 for panel in uppermost)
    height = _height([space.height] * rows + [*space.below], space.gap) + top + _BOTTOM
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
        "annotations": [
            *(panel.title(look) for panel in panels),
            *(_legible(note, look) for note in notes),
        ],
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
    return {"data": list(traces), "layout": layout}


def _legible(note: Element, look: Look) -> Element:
    """The same with text that can be read where it has a line's colour; its stroke keeps that."""
    font = note.get("font", {})
    if "color" not in font:
        return note
    return note | {"font": font | {"color": legible(font["color"], look.paper)}}


def _fitted(panel: Panel, space: Space, labels: bool) -> Panel:
    lines = heading_lines(panel.heading, panel.x_domain, space, labels)
    return replace(panel, heading="<br>".join(lines))


def heading_lines(
    heading: str, x_domain: tuple[float, float], space: Space, labels: bool = True
) -> list[str]:
    """A panel's heading as lines that fit above it and the labels at its right."""
    low, high = x_domain
    room = space.plotted(labels=labels) * (high - low) + (space.right if labels else 0)
    letter = TEXT_SIZE * (0.65 if re.fullmatch("<b>((?!<b>).)*</b>", heading) else 0.5)
    return [
        part for line in heading.split("<br>") for part in short_lines(line, int(room / letter))
    ]


def texts_line(result: Result) -> str:
    return f"{plural(result['texts'], 'text')} of {markup(source_name(result['text']['source']))}"


def machine(result: Result) -> str:
    return f"{result['device']}, {result['dtype']}"
