"""The Plotly figures that the command's exports and the app both show, and how variants look.

Colours, dashes and markers of every output, the terminal's too, are defined here once. Plotly
itself is loaded by the functions that return a figure and by nothing else, so the terminal can
use the styles without paying for it.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .colours import DARK, LIGHT, shade
from .speed import PASSES, baseline, facts, panels, peer_names, size, times
from .wording import (
    Interval,
    Result,
    Row,
    count,
    half_width,
    number,
    percent,
    plural,
    retrieval_samples,
    row_names,
    scaled,
    signed,
    source_name,
    with_half_width,
    with_range,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

Theme = Literal["light", "dark"]
Element = dict[str, Any]
"""A part of a Plotly figure in its JSON form."""


# Names and colours


@dataclass(frozen=True)
class Style:
    """How a variant looks everywhere; the colours are legible on white and on black."""

    label: str
    color: str
    dash: str
    marker: str
    sign: str
    """The marker of charts in a terminal."""


STYLES: Mapping[str, Style] = {
    "softmax": Style("Softmax (standard)", "#d55e00", "solid", "circle", "●"),
    "softmax+yarn": Style("Softmax + YaRN", "#c0569b", "dash", "square", "■"),
    "softmax-ls": Style("Softmax + length scale", "#009e73", "dashdot", "diamond", "◆"),
    "lssar:p=15": Style(
        "Softplus + re-weighting<br>(LSSAR p=15)", "#0a7bc4", "solid", "triangle-up", "▲"
    ),
    "lssar:p=3": Style("lssar:p=3", "#7a6fd0", "dot", "triangle-down", "▼"),
    "lssa": Style("lssa", "#2a9fd6", "longdash", "circle-open", "○"),
    "sigmoid": Style("sigmoid", "#9a7b1c", "dot", "square-open", "□"),
    "relu": Style("relu", "#7f7f7f", "longdashdot", "diamond-open", "◇"),
    "softmax-r:p=15": Style("softmax-r:p=15", "#b0472f", "dot", "x", "x"),
    "softmax-ls-r:p=15": Style("softmax-ls-r:p=15", "#3b8f5a", "dot", "cross", "+"),
    "softplus": Style("softplus", "#5b84b1", "dash", "triangle-up-open", "△"),
    "softplus-r:p=15": Style("softplus-r:p=15", "#6b77c4", "dashdot", "triangle-down-open", "▽"),
    "lssa-count": Style("lssa-count", "#8a8f3c", "dashdot", "star", "*"),
}
BESIDE_A_WINDOW = {
    "no better": "<br>(no better than a window)",
    "worse": "<br>(worse than a window)",
}
"""Beside a row's Δ, by its verdict: below 0 it would look like use of the context."""
_OTHER_COLOR = "#8c6d8c"


@dataclass(frozen=True)
class _Modified:
    """How a modifier changes the look of its variant."""

    turn: float
    """Degrees of hue."""
    lightness: float
    dash: str
    marker: str
    sign: str


_MODIFIED = {
    "rerope": _Modified(25, LIGHT, "dash", "star", "☆"),
    "window": _Modified(-25, DARK, "dot", "square-open", "□"),
    "yarn": _Modified(-50, LIGHT, "dashdot", "square", "■"),
    "align": _Modified(50, DARK, "longdash", "x", "x"),
    "align:by=entropy": _Modified(50, LIGHT, "longdashdot", "cross", "+"),
    "pi": _Modified(-12, LIGHT, "dot", "triangle-left", "◁"),
    "ntk": _Modified(25, DARK, "dashdot", "triangle-right", "▷"),
    "dynamic-ntk": _Modified(-50, DARK, "longdashdot", "pentagon", "◈"),
    "logn": _Modified(12, DARK, "dash", "diamond-open", "◇"),
    "infoscale": _Modified(-25, LIGHT, "longdash", "circle-open", "○"),
    "swap": _Modified(75, LIGHT, "longdashdot", "hexagon", "◎"),
    "swap:to=lssar:p=3": _Modified(75, DARK, "dot", "triangle-down", "▼"),
}
"""A row with a modifier takes a hue near its variant's: rows of one variant stay a family."""

_SYMBOLS = (
    ("circle", "●"),
    ("square", "■"),
    ("diamond", "◆"),
    ("triangle-up", "▲"),
    ("triangle-down", "▼"),
    ("circle-open", "○"),
    ("square-open", "□"),
    ("diamond-open", "◇"),
    ("triangle-up-open", "△"),
    ("triangle-down-open", "▽"),
    ("star", "☆"),
    ("triangle-left", "◁"),
    ("triangle-right", "▷"),
    ("hexagon", "◎"),
    ("pentagon", "◈"),
    ("x", "x"),
    ("cross", "+"),
)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def _beside(other: str, label: str, dash: str, marker: str, sign: str) -> Style:
    """The style of a variant one step away from another, whose colour it keeps."""
    return Style(label, STYLES[other].color, dash, marker, sign)


_STEPS = {
    "softmax-r:p=3": _beside("softmax-r:p=15", "softmax-r:p=3", "longdash", "square", "■"),
    "softplus-r:p=3": _beside("softplus-r:p=15", "softplus-r:p=3", "longdash", "square-open", "□"),
    "softmax-ls-r:p=3": _beside(
        "softmax-ls-r:p=15", "softmax-ls-r:p=3", "longdash", "diamond-open", "◇"
    ),
    "stages:score=length-cosine:positivity=exp:normalise=count": _beside(
        "softmax-ls", "exp(log D · log N · cos) / N", "dot", "star", "☆"
    ),
    "stages:score=dot-log-n:positivity=sigmoid:normalise=l1": _beside(
        "sigmoid", "sigmoid(q·k/√D − log N) / sum", "dash", "square", "■"
    ),
    "stages:score=dot:positivity=relu:normalise=l1": _beside(
        "relu", "relu(q·k/√D) / sum", "dash", "diamond", "◆"
    ),
    "stages:score=dim-cosine:positivity=exp:normalise=l1": _beside(
        "softmax-ls", "exp(log D · cos) / sum", "dash", "triangle-left", "◁"
    ),
    "stages:score=count-cosine:positivity=exp:normalise=l1": _beside(
        "softmax-ls", "exp(log N · cos) / sum", "longdash", "triangle-right", "▷"
    ),
    "stages:score=dim-cosine:positivity=softplus:normalise=l1": _beside(
        "lssa", "softplus(log D · cos) / sum", "dash", "triangle-left", "◁"
    ),
    "stages:score=count-cosine:positivity=softplus:normalise=l1": _beside(
        "lssa", "softplus(log N · cos) / sum", "dot", "triangle-right", "▷"
    ),
    "stages:score=dim-cosine:positivity=softplus:normalise=l1:p=15": _beside(
        "lssar:p=15", "softplus(log D · cos) / sum, p=15", "dash", "triangle-left", "◁"
    ),
    "stages:score=count-cosine:positivity=softplus:normalise=l1:p=15": _beside(
        "lssar:p=15", "softplus(log N · cos) / sum, p=15", "longdash", "triangle-right", "▷"
    ),
}
"""The cells of the ablation cube that nothing else shows."""


def style_of(variant: str) -> Style:
    """The style of a canonical name; one that the tables lack goes by its name."""
    known = STYLES.get(variant) or _STEPS.get(variant)
    if known is not None:
        return known
    base, _, modifiers = variant.partition("+")
    color = style_of(base).color if modifiers else _OTHER_COLOR
    chosen = zlib.crc32(variant.encode())  # the same in every figure, and unlike its neighbour
    change = _MODIFIED.get(modifiers) or _MODIFIED.get(modifiers.split(":")[0])
    if change is None:
        marker, sign = _SYMBOLS[chosen % len(_SYMBOLS)]
        lightness = (DARK, LIGHT)[chosen % 2]
        turn = chosen % 12 * 30 if base not in STYLES else chosen % 7 * 20 - 60
        change = _Modified(turn, lightness, _DASHES[chosen % len(_DASHES)], marker, sign)
    color = shade(color, change.turn, change.lightness)
    return Style(markup(variant), color, change.dash, change.marker, change.sign)


def row_styles(rows: Sequence[Row]) -> list[Style]:
    """The styles of a chart's rows; of two alike, as of one variant trained twice, one changes."""
    found: list[Style] = []
    for row in rows:
        style = usual = style_of(row["variant"])
        again = sum(row["variant"] == other["variant"] for other in rows[: len(found)])
        if again:
            turn, lightness = 40 * again, (LIGHT, DARK)[again % 2]
            dash = _DASHES[(_DASHES.index(usual.dash) + again) % len(_DASHES)]
            style = replace(usual, color=shade(usual.color, turn, lightness), dash=dash)
        if any(style.sign == other.sign and (again or _alike(style, other)) for other in found):
            marker, sign = _free_symbol([*found, usual])
            style = replace(style, marker=marker, sign=sign)
        found.append(style)
    return found


def _alike(one: Style, other: Style) -> bool:
    return (one.color, one.dash) == (other.color, other.dash)


def _free_symbol(taken: Sequence[Style]) -> tuple[str, str]:
    """One that no row has, as long as there are enough."""
    signs = {style.sign for style in taken}
    free = [symbol for symbol in _SYMBOLS if symbol[1] not in signs]
    return free[0] if free else _SYMBOLS[len(taken) % len(_SYMBOLS)]


def markup(text: str) -> str:
    """A name, which can hold any character, in Plotly's markup."""
    return html.escape(text, quote=False)


def row_labels(rows: Sequence[Row]) -> list[str]:
    """Human names of rows, in Plotly's markup."""
    return [
        style_of(row["variant"]).label + markup(name.removeprefix(row["variant"]))
        for row, name in zip(rows, row_names(rows), strict=True)
    ]


# The look


@dataclass(frozen=True)
class _Look:
    paper: str
    text: str
    soft: str
    grid: str
    veil: str
    """Behind texts that a line may cross."""
    hurts: str
    helps: str


_LOOKS: Mapping[str, _Look] = {
    "light": _Look(
        "#ffffff",
        "#1f2328",
        "#59636e",
        "#e3e6ea",
        "rgba(255,255,255,0.6)",
        "rgba(213,94,0,0.07)",
        "rgba(0,158,115,0.10)",
    ),
    "dark": _Look(
        "#14171c",
        "#e6e8eb",
        "#a4acb6",
        "#30363d",
        "rgba(20,23,28,0.6)",
        "rgba(213,94,0,0.13)",
        "rgba(0,158,115,0.16)",
    ),
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"
_CLEAR = "rgba(0,0,0,0)"
_WIDTH, _PANEL_HEIGHT, _STACK_GAP = 1280, 400, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 240, 136, 64
_AXIS_WIDTH = 65
"""Of a panel's y axis, beside the labels of the panel at its left."""
_LINE_HEIGHT, _LABEL_PADDING, _LABEL_REACH = 16, 4, 30
_VALUE_WIDTH, _LABEL_COLUMNS = 53, 44
_TITLE_SIZE, _TEXT_SIZE = 20, 13
_SLIM_LEFT, _SLIM_RIGHT, _SLIM_TICKS = 58, 14, 5
_SLIM = _SLIM_LEFT, _SLIM_LEFT + 32, _SLIM_RIGHT
"""Without labels at the ends of lines; left, between panels, right."""


def _look(theme: str) -> _Look:
    if theme not in _LOOKS:
        raise ValueError(f"theme is {theme!r}; it can be light or dark")
    return _LOOKS[theme]


@dataclass(frozen=True)
class _Space:
    """What the labels at the ends of lines leave and take, in pixels."""

    width: int
    """Of the whole figure."""
    height: int = _PANEL_HEIGHT
    """Of a panel."""
    right: int = _RIGHT
    """Of a panel's labels."""

    def fit(self, panel: _Panel) -> _Panel:
        return replace(panel, height=self.height)


def _space(width: int, *drawn: Sequence[_Line], columns: int = 1, labels: bool = True) -> _Space:
    """Panels as high as their labels, a figure wider than asked for when labels need it.

    Args:
        width: that is asked for.
        drawn: the lines of every panel.
        columns: panels side by side.
        labels: whether lines have labels at their ends.
    """
    if not labels:
        return _Space(width)
    heights = [sum(map(_label_height, (line.shown for line in lines))) for lines in drawn]
    texts = [part for lines in drawn for line in lines for part in line.shown.split("<br>")]
    widest = max(map(_text_width, texts), default=0.0)
    right = max(_RIGHT, math.ceil(_LABEL_REACH + widest + _VALUE_WIDTH))
    height = max([_PANEL_HEIGHT, *heights])
    return _Space(width + columns * (right - _RIGHT), height, right)


def _label_height(text: str) -> int:
    return _LINE_HEIGHT * (text.count("<br>") + 1) + _LABEL_PADDING


def _text_width(text: str) -> float:
    """About how many pixels a text of 12 pixels takes."""
    slim = sum(text.count(letter) for letter in " .,:;()[]|'!ijltfrI")
    broad = sum(text.count(letter) for letter in "mwMW+=√−↑↓→%@")
    return 4.0 * slim + 10.5 * broad + 7.4 * (len(text) - slim - broad)


def _broken(label: str) -> str:
    """A label in lines of some 44 characters, broken where a part of a name begins."""
    lines = [""]
    for piece in re.split(r"(?<=<br>)|(?=[+:\[ ])", label):
        if lines[-1] and len(lines[-1].rsplit("<br>", 1)[-1] + piece) > _LABEL_COLUMNS:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(line.strip() for line in lines)


def _titled(axis: Element) -> Element:
    return axis | {"title": {"font": {"size": _TEXT_SIZE}, "standoff": 8} | axis["title"]}


@dataclass(frozen=True)
class _Panel:
    """One pair of axes: which, where (fractions of the plotting area), its title and ranges."""

    key: str
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]
    heading: str
    x_axis: Element
    y_axis: Element
    height: int = _PANEL_HEIGHT
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

    def axes(self, look: _Look) -> Element:
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

    def title(self, look: _Look) -> Element:
        return self.note(
            self.heading, 0, 1, yanchor="bottom", yshift=8, align="left", font={"color": look.text}
        )


@dataclass(frozen=True)
class _Line:
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

    def trace(self, panel: _Panel, *, markers: bool = True) -> Element:
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


def _end_labels(panel: _Panel, lines: Sequence[_Line], digits: int, sign: bool) -> list[Element]:
    """A label with its last number at every line's end."""
    low, high = panel.span

    def form(value: float) -> str:
        arrow = "↑ " if value > high else "↓ " if value < low else ""
        digits_here = 2 if arrow else digits
        return arrow + (signed(value, digits_here) if sign else number(value, digits_here))

    return _labels(panel, lines, form)


def _labels(panel: _Panel, lines: Sequence[_Line], form: Callable[[float], str]) -> list[Element]:
    """A label in the line's colour at every line's end, joined to it by a thin stroke."""
    placed = [(line, line.end) for line in lines]
    shown = [(line, end) for line, end in placed if end is not None]
    texts = [f"{line.shown} <b>{form(value)}</b>" for line, (_, value) in shown]
    heights = list(map(_label_height, texts))
    # What is off the scale keeps its order among its like by a little of its distance.
    aims = [_aim(panel, panel.place(end[1])) for _, end in shown]
    centres = _spread(aims, heights, panel.height)
    return [
        _end_label(panel, line, end, text, centre)
        for (line, end), text, centre in zip(shown, texts, centres, strict=True)
    ]


def _aim(panel: _Panel, value: float) -> float:
    low, high = panel.span
    over = max(value - high, 0.0) - max(low - value, 0.0)
    return panel.pixel(min(max(value, low), high)) - 0.1 * math.tanh(over)


def _end_label(
    panel: _Panel, line: _Line, end: tuple[float, float], text: str, centre: float
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
            "ax": _LABEL_REACH,
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
            "xshift": _LABEL_REACH,
        }
    )


def _missing_note(panel: _Panel, lines: Sequence[_Line], height: float = 0.02) -> list[Element]:
    names = [line.label.replace("<br>", " ") for line in lines if line.end is None]
    if not names:
        return []
    text = "<br>".join(textwrap.wrap(f"no finite value: {', '.join(names)}", 2 * _LABEL_COLUMNS))
    place = {"xanchor": "right", "yanchor": "bottom", "align": "right", "font": {"size": 12}}
    return [panel.note(text, 0.98, height, **place)]


def _padded(values: Sequence[float], low: float = 0.06, high: float = 0.06) -> list[float]:
    if not values:
        return [0.0, 1.0]
    least, most = min(values), max(values)
    room = (most - least) or abs(most) or 1.0
    return [least - low * room, most + high * room]


def _length_axis(lengths: Sequence[int], most: int = 8) -> Element:
    """A log axis with a tick at every length; doublings are equally far apart."""
    edge = 0.04 if len(lengths) > 1 else 0.15
    reach = math.log10(max(lengths) / min(lengths)) * edge if len(lengths) > 1 else edge
    return {
        "type": "log",
        **_length_ticks(lengths, most),
        "range": [math.log10(min(lengths)) - reach, math.log10(max(lengths)) + reach],
        "title": {"text": "context length (tokens)"},
    }


def _length_ticks(lengths: Sequence[int], most: int = 8) -> Element:
    shown = list(lengths)
    while len(shown) > most:  # labels would run into each other
        shown = shown[::-2][::-1]
    return {"tickvals": shown, "ticktext": [count(length) for length in shown]}


def _trained_mark(panel: _Panel, lengths: Sequence[int], look: _Look) -> list[Element]:
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


def _trained_note(panel: _Panel, length: int, look: _Look) -> Element:
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


def _domains(
    panels: int, space: _Space, stacked: bool, *, labels: bool = True, below: bool = False
) -> list[tuple[Any, Any]]:
    columns, rows = (1, panels) if stacked else (panels, 1 + below)
    return _grid(columns, rows, space, labels=labels)


def _grid(columns: int, rows: int, space: _Space, *, labels: bool = True) -> list[tuple[Any, Any]]:
    """The domains of panels in columns and rows, row by row from the top."""
    left, between, right = (_LEFT, space.right + _AXIS_WIDTH, space.right) if labels else _SLIM
    across = between / max(space.width - left - right, columns * between)
    down = _STACK_GAP / (rows * space.height + (rows - 1) * _STACK_GAP)
    return [
        (_share(column, columns, across), _share(rows - 1 - row, rows, down))
        for row in range(rows)
        for column in range(columns)
    ]


def _share(index: int, parts: int, gap: float) -> tuple[float, float]:
    """From where to where one of equal parts of 1 reaches, with gaps between them."""
    size = (1 - (parts - 1) * gap) / parts
    start = index * (size + gap)
    return start, min(start + size, 1.0)


def _figure(
    panels: Sequence[_Panel],
    traces: Sequence[Element],
    shapes: Sequence[Element],
    notes: Sequence[Element],
    *,
    title: str,
    subtitle: str,
    look: _Look,
    space: _Space,
    stacked: bool,
    labels: bool = True,
) -> go.Figure:
    import plotly.graph_objects as go

    width = space.width
    left, right = (_LEFT, space.right) if labels else (_SLIM_LEFT, _SLIM_RIGHT)
    panels = [_with_short_lines(panel, width, left, right) for panel in panels]
    rows = len({panel.y_domain for panel in panels})
    headline = textwrap.wrap(title, int((width - _LEFT) / (0.6 * _TITLE_SIZE)))
    details = textwrap.wrap(subtitle, int((width - _LEFT) / (0.64 * _TEXT_SIZE)))
    top = _TOP + 26 * (len(headline) - 1) + 17 * (len(details) - 1)
    if not title:
        uppermost = panels[:1] if stacked else panels
        top = 16 + 17 * max(panel.heading.count("<br>") + 1 for panel in uppermost)
    height = rows * space.height + (rows - 1) * _STACK_GAP + top + _BOTTOM
    layout: Element = {
        "width": width,
        "height": height,
        "margin": {"l": left, "r": right, "t": top, "b": _BOTTOM},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": _FONT, "size": _TEXT_SIZE, "color": look.text},
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
                "font": {"size": _TEXT_SIZE, "color": look.soft},
            },
            "x": 0,
            "xref": "paper",
            "y": 1 - (22 + 14 * (len(headline) - 1)) / height,
            "yref": "container",
            "yanchor": "top",
            "font": {"size": _TITLE_SIZE},
        }
    for panel in panels:
        layout |= panel.axes(look)
    return go.Figure(data=list(traces), layout=layout)


def _with_short_lines(panel: _Panel, width: int, left: int, right: int) -> _Panel:
    """The same with a heading that fits above it and the labels at its right."""
    low, high = panel.x_domain
    room = int(((width - left - right) * (high - low) + right) / (0.5 * _TEXT_SIZE))
    lines = [part for line in panel.heading.split("<br>") for part in textwrap.wrap(line, room)]
    return replace(panel, heading="<br>".join(lines))


# Loss and Δ against length


def comparison_figure(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = _WIDTH,
    stacked: bool = False,
    labels: bool = True,
    by_position: bool = False,
) -> go.Figure:
    """Loss against context length, and Δ against the model that forgets, enlarged near 0.

    Args:
        result: what `freeatten compare --json` prints; any number may be missing.
        title: in place of the one made from the result; empty for none.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels; two panels side by side need about 1,100.
        stacked: Δ below the loss, for narrow pages.
        labels: names at the ends of the lines; without, the page must have a legend.
        by_position: the loss at each position too, in a panel below; not stacked.
    """
    look = _look(theme)
    rows: Sequence[Row] = result["variants"]
    delta = any(length > row["train_length"] for row in rows for length in result["lengths"])
    lines, delta_lines = _loss_lines(result), _delta_lines(result) if delta else []
    position_lines = _position_lines(result) if by_position else []
    columns = 1 if stacked or not delta else 2
    space = _space(width, lines, delta_lines, position_lines, columns=columns, labels=labels)
    domains = _domains(2 if delta else 1, space, stacked, labels=labels, below=by_position)
    trained = sorted({row["train_length"] for row in rows}) or [result["train_length"]]
    trained = [length for length in trained if length <= max(result["lengths"])]
    axis = _length_axis(result["lengths"], 8 if labels else _SLIM_TICKS)
    loss_panel = space.fit(_loss_panel(lines, axis, *domains[0]))
    panels, traces = [loss_panel], [line.trace(loss_panel) for line in lines]
    shapes = _trained_mark(loss_panel, trained, look)
    notes = _end_labels(loss_panel, lines, 2, sign=False) if labels else []
    notes += _missing_note(loss_panel, lines)
    notes += [_trained_note(loss_panel, length, look) for length in trained]
    if delta:
        panel = space.fit(_delta_panel(result, delta_lines, axis, *domains[1]))
        panels.append(panel)
        traces += [line.trace(panel) for line in delta_lines]
        shapes += _trained_mark(panel, trained, look) + _regions(panel, look)
        notes += _end_labels(panel, delta_lines, 3, sign=True) if labels else []
        notes += _region_notes(panel, look) + _missing_note(panel, delta_lines)
    if by_position:
        below = _position_part(result, position_lines, space, look, "3", domains[-1][1])
        panels, traces = panels + below[0], traces + below[1]
        shapes, notes = shapes + below[2], notes + below[3]
    return _figure(
        panels,
        traces,
        shapes,
        notes,
        title=comparison_title(result) if title is None else title,
        subtitle=comparison_subtitle(result),
        look=look,
        space=space,
        stacked=stacked,
        labels=labels,
    )


def comparison_title(result: Result) -> str:
    """The question that the result answers."""
    longest, trained = max(result["lengths"]), result["train_length"]
    rows = result["variants"]
    if longest <= trained:
        return f"Trained on {count(trained)} tokens, read at {count(longest)}"
    asked = f"Trained on {count(trained)} tokens, asked to read {count(longest)}"
    if len(rows) == 1:
        return f"{asked}: does {row_labels(rows)[0].replace('<br>', ' ')} hold?"
    return f"{asked}: which attention breaks?"


def comparison_subtitle(result: Result) -> str:
    parts = [_texts(result)]
    if len(result["lengths"]) > 1:
        parts.append("the same tokens scored at every length")
    if any(half_width(pair) is not None for row in result["variants"] for pair in row["ci95"]):
        parts.append("95 % intervals over texts")
    return " · ".join([*parts, _machine(result)])


def _texts(result: Result) -> str:
    return f"{plural(result['texts'], 'text')} of {markup(source_name(result['text']['source']))}"


def _machine(result: Result) -> str:
    return f"{result['device']}, {result['dtype']}"


def _intervals(row: Row, key: str, length: int) -> list[Interval]:
    return list(row.get(key) or [None] * length)


def _loss_lines(result: Result) -> list[_Line]:
    return _lines(result, "loss", "ci95", "nats per token", number)


def _delta_lines(result: Result) -> list[_Line]:
    return _lines(result, "delta", "delta_ci95", "nats against the restart", signed)


def _lines(
    result: Result,
    key: str,
    interval_key: str,
    unit: str,
    form: Any,
    told: Callable[[str, Interval], str] = with_half_width,
) -> list[_Line]:
    rows, lengths = result["variants"], result["lengths"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        intervals = _intervals(row, interval_key, len(lengths))
        hover = [
            f"{label}<br>{count(length)} tokens: {told(form(value), interval)} {unit}"
            for length, value, interval in zip(lengths, row[key], intervals, strict=True)
        ]
        shown = label + (BESIDE_A_WINDOW.get(row["verdict"], "") if key == "delta" else "")
        lines.append(_Line(shown, style, lengths, row[key], intervals, hover))
    return lines


def _loss_panel(lines: Sequence[_Line], axis: Element, x_domain: Any, y_domain: Any) -> _Panel:
    values = [value for line in lines for value in line.values(reach=0.5)]
    return _Panel(
        "",
        x_domain,
        y_domain,
        "<b>Loss</b> against context length: lower is better",
        axis,
        {"range": _padded(values, high=0.1), "title": {"text": "mean loss (nats per token)"}},
    )


_ZOOM = 0.5
"""Lines whose Δ stays below this set the scale of the enlarged panel."""


def _delta_panel(
    result: Result, lines: Sequence[_Line], axis: Element, x_domain: Any, y_domain: Any
) -> _Panel:
    near = [line for line in lines if max(map(abs, line.values(reach=0)), default=math.inf) < _ZOOM]
    values = [value for line in (near or lines) for value in line.values(reach=0.1)]
    high = max([*values, 0.05]) * 1.15
    low = min(min(values, default=0.0) * 1.5, -0.35 * high)
    length = count(result["train_length"])
    heading = (
        "<b>Δ</b> against the same model that forgets, enlarged near 0<br>"
        f"0: same as forgetting everything older than {length} tokens"
    )
    if any(end is not None and not low <= end[1] <= high for end in (line.end for line in lines)):
        heading += "; ↑ off the scale"
    return _Panel(
        "2",
        x_domain,
        y_domain,
        heading,
        axis,
        {
            "range": [low, high],
            "title": {"text": "Δ (nats per token)"},
            "tickformat": "+.2f" if high < 1 else "+.1f",
            "zeroline": True,
            "zerolinewidth": 1.5,
        },
    )


def _regions(panel: _Panel, look: _Look) -> list[Element]:
    low, high = panel.span
    place = {"xref": f"x{panel.key} domain", "yref": f"y{panel.key}", "x0": 0, "x1": 1}
    area = {"type": "rect", "line": {"width": 0}, "layer": "below", **place}
    return [
        area | {"y0": 0, "y1": high, "fillcolor": look.hurts},
        area | {"y0": low, "y1": 0, "fillcolor": look.helps},
    ]


def _region_notes(panel: _Panel, look: _Look) -> list[Element]:
    strong = {"font": {"size": _TEXT_SIZE}, "bgcolor": look.veil, "borderpad": 1}
    return [
        panel.note("longer context <b>hurts</b>", 0.25, 0.98, yanchor="top", **strong),
        panel.note("longer context <b>helps</b>", 0.06, 0.02, yanchor="bottom", **strong),
    ]


# Loss against position


def position_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = 900
) -> go.Figure:
    """Loss against position in one pass at the longest length.

    Raises:
        ValueError: the result was made without `--by position`.
    """
    look, longest = _look(theme), count(max(result["lengths"]))
    lines = _position_lines(result)
    space = _space(width, lines)
    return _figure(
        *_position_part(result, lines, space, look, "", (0.0, 1.0)),
        title=title or f"Where in {longest} tokens does the loss go up?",
        subtitle=f"{_texts(result)} · different text at different positions · {_machine(result)}",
        look=look,
        space=space,
        stacked=False,
    )


def _position_lines(result: Result) -> list[_Line]:
    if not result.get("positions"):
        raise ValueError("this result has no loss by position; make it with --by position")
    rows, positions = result["variants"], result["positions"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        values = row.get("loss_by_position") or [None] * len(positions)
        hover = [
            f"{label}<br>up to position {count(position)}: {number(value)} nats per token"
            for position, value in zip(positions, values, strict=True)
        ]
        none: list[Interval] = [None] * len(positions)
        lines.append(_Line(label, style, positions, values, none, hover))
    return lines


def _position_part(
    result: Result,
    lines: Sequence[_Line],
    space: _Space,
    look: _Look,
    key: str,
    y_domain: tuple[float, float],
) -> tuple[list[_Panel], list[Element], list[Element], list[Element]]:
    """Panel, traces, shapes and notes of the loss against position."""
    panel = space.fit(_position_panel(result, lines, key, y_domain))
    trained = sorted({row["train_length"] for row in result["variants"]})
    notes = _end_labels(panel, lines, 2, sign=False) + _missing_note(panel, lines)
    notes += [_trained_note(panel, length, look) for length in trained]
    traces = [line.trace(panel, markers=False) for line in lines]
    return [panel], traces, _trained_mark(panel, trained, look), notes


def _position_panel(
    result: Result, lines: Sequence[_Line], key: str, y_domain: tuple[float, float]
) -> _Panel:
    positions = result["positions"]
    first, last = math.log2(positions[0]), math.log2(positions[-1])
    ticks = [2**power for power in range(math.ceil(first), math.floor(last) + 1)]
    axis = _length_axis(positions) | _length_ticks(ticks)
    axis["title"] = {"text": "position (tokens)"}
    values = [value for line in lines for value in line.values()]
    return _Panel(
        key,
        (0.0, 1.0),
        y_domain,
        "<b>Loss</b> against position in one long pass: lower is better",
        axis,
        {"range": _padded(values, high=0.1), "title": {"text": "mean loss (nats per token)"}},
    )


# Learning curves


def curve_figure(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str = "Learning curves of the checkpoints",
    theme: Theme = "light",
    width: int = 900,
) -> go.Figure:
    """Validation loss (and, thin, training loss) by step, for several variants.

    Args:
        curves: variant → points with `step`, `validation` and optionally `loss`.
    """
    look = _look(theme)
    lines = [_curve(variant, points, "validation") for variant, points in curves.items()]
    thin = [_curve(variant, points, "loss") for variant, points in curves.items()]
    space = _space(width, lines)
    panel = space.fit(_curve_panel(lines))
    faint = [line.trace(panel, markers=False) for line in thin if line.end is not None]
    for trace in faint:
        trace["line"] |= {"width": 1, "dash": "solid"}
        trace["opacity"] = 0.35
    return _figure(
        [panel],
        [*faint, *(line.trace(panel, markers=False) for line in lines)],
        [],
        _end_labels(panel, lines, 3, sign=False) + _missing_note(panel, lines),
        title=title,
        subtitle="lines: validation · faint: training batches" if faint else "validation loss",
        look=look,
        space=space,
        stacked=False,
    )


def _curve(variant: str, points: Sequence[Mapping[str, Any]], key: str) -> _Line:
    style = style_of(variant)
    steps = [point["step"] for point in points]
    values = [point.get(key) for point in points]
    hover = [
        f"{style.label}<br>step {count(step)}: {number(value, 4)} ({key})"
        for step, value in zip(steps, values, strict=True)
    ]
    return _Line(style.label, style, steps, values, [None] * len(steps), hover)


def _curve_panel(lines: Sequence[_Line]) -> _Panel:
    last = max((step for line in lines for step in line.x), default=1)
    late = [
        value
        for line in lines
        for step, value in zip(line.x, line.y, strict=True)
        if value is not None and math.isfinite(value) and step >= last / 20
    ]
    return _Panel(
        "",
        (0.0, 1.0),
        (0.0, 1.0),
        "<b>Loss</b> against step; the first twentieth may lie above the frame",
        {"range": [0, last * 1.02], "tickformat": ",", "title": {"text": "step"}},
        {"range": _padded(late), "title": {"text": "loss (nats per token)"}},
    )


# Speed

_FORMS: Mapping[str, tuple[str, str]] = {
    "flex": ("dash", "x"),
    "compiled": ("dashdot", "cross"),
    "naive": ("dot", "star"),
}
"""Dash and marker of what computes a variant otherwise than its own kernel."""
_OTHERS: Mapping[str, Style] = {
    "sdpa cudnn": Style("sdpa cudnn", "#a36a00", "solid", "square", "■"),
    "sdpa flash": Style("sdpa flash", "#808080", "solid", "diamond", "◆"),
    "sdpa softmax": Style("sdpa softmax", "#808080", "solid", "diamond", "◆"),
}


def peer_style(peer: str) -> Style:
    """The look of a peer of the benchmark: its variant's colour, the dash of its form."""
    if peer in _OTHERS:
        return _OTHERS[peer]
    variant, _, form = peer.partition(" ")
    style = style_of(variant)
    dash, marker = _FORMS.get(form, ("solid", style.marker))
    return replace(style, label=peer, dash=dash, marker=marker)


def speed_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = _WIDTH
) -> go.Figure:
    """Time relative to the baseline against length, a panel for every pass and head size.

    Args:
        result: what `freeatten bench --json` prints; any number may be missing.
        title: in place of the one made from the result.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look = _look(theme)
    found, settings = panels(result), result["settings"]
    passes = list(dict.fromkeys(pass_name for pass_name, _ in found))
    columns = len(found) // len(passes)
    lines_of = {
        place: [_speed_line(result, rows, peer) for peer in peer_names(rows)]
        for place, rows in found.items()
    }
    space = _space(width, *lines_of.values(), columns=columns)
    domains = _grid(columns, len(passes), space)
    drawn: list[_Panel] = []
    traces: list[Element] = []
    notes: list[Element] = []
    for index, ((pass_name, dim), lines) in enumerate(lines_of.items()):
        heading = f"<b>{PASSES[pass_name].capitalize()}</b>, heads of {dim}"
        key = f"{index + 1}" if index else ""
        panel = space.fit(_speed_panel(key, domains[index], heading, lines))
        drawn.append(panel)
        traces += [line.trace(panel) for line in lines]
        notes += _labels(panel, lines, times)
        notes += _missing_note(panel, lines, height=0.7)
    measured = f"causal, {settings['dtype']}, {settings['heads']} heads, {size(result)}"
    made_on = f"{result['device']}, torch {result['versions']['torch']}"
    return _figure(
        drawn,
        traces,
        [],
        notes,
        title=title or f"How long attention takes, relative to {baseline(result)}",
        subtitle=f"medians, log scale: lower is faster · {measured} · {made_on}",
        look=look,
        space=space,
        stacked=False,
    )


def _speed_line(result: Result, rows: Sequence[Row], peer: str) -> _Line:
    own = [row for row in rows if row["peer"] == peer]
    none: list[Interval] = [None] * len(own)
    hover = ["<br>".join(facts(row, baseline(result))) for row in own]
    lengths = [row["length"] for row in own]
    return _Line(peer, peer_style(peer), lengths, [row["ratio"] for row in own], none, hover)


def _speed_panel(key: str, domain: tuple[Any, Any], heading: str, lines: Sequence[_Line]) -> _Panel:
    lengths = sorted({int(length) for line in lines for length in line.x})
    ratios = [math.log10(value) for line in lines for value in line.values() if value > 0]
    low, high = _padded(ratios)
    ticks = [step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= math.log10(tick) <= high]
    return _Panel(
        key,
        *domain,
        heading,
        _length_axis(lengths),
        {
            "type": "log",
            "range": [low, high],
            "tickvals": shown,
            "ticktext": [f"{tick:g}×" for tick in shown],
            "title": {"text": "time, relative"},
        },
    )


# Retrieval


def retrieval_title(result: Result) -> str:
    """The question that a result of `freeatten retrieve` answers."""
    if result["task"] == "copy":
        return f"Does it copy {count(result['block'])} tokens from the start of the sequence?"
    pairs = count(result["recall"]["pairs"])
    return f"Does it find one of {pairs} pairs among more and more filler?"


def copy_figure(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> go.Figure:
    """What the first copy of a block is worth for the second, against the tokens in all.

    Args:
        result: what `freeatten retrieve --task copy --json` prints.
        title, theme, width, labels: as for `comparison_figure`.
    """
    return _retrieval_figure(
        result,
        _lines(result, "gain", "gain_ci95", "nats a token gained", signed),
        heading="<b>Gain</b> from the first copy: higher is better, 0 is not using it",
        y_title="gain (nats per token)",
        title=retrieval_title(result) if title is None else title,
        digits=2,
        sign=True,
        theme=theme,
        width=width,
        labels=labels,
    )


def recall_figure(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> go.Figure:
    """Share of queries answered right, in %, against the length.

    Args:
        result: what `freeatten retrieve --task recall --json` prints.
        title, theme, width, labels: as for `comparison_figure`.
    """
    in_percent = [
        row
        | {
            "accuracy": [None if value is None else 100 * value for value in row["accuracy"]],
            "accuracy_ci95": [scaled(pair, 100) for pair in row["accuracy_ci95"]],
        }
        for row in result["variants"]
    ]
    shown, form = {**result, "variants": in_percent}, partial(number, digits=1)
    return _retrieval_figure(
        shown,
        _lines(shown, "accuracy", "accuracy_ci95", "% right", form, with_range),
        heading=f"<b>Recall</b>: answered right (a guess: {percent(result['chance'])} %)",
        y_title="queries answered right (%)",
        title=retrieval_title(result) if title is None else title,
        digits=0,
        sign=False,
        theme=theme,
        width=width,
        labels=labels,
    )


def _retrieval_figure(
    result: Result,
    lines: Sequence[_Line],
    *,
    heading: str,
    y_title: str,
    title: str,
    digits: int,
    sign: bool,
    theme: Theme,
    width: int,
    labels: bool,
) -> go.Figure:
    look, lengths, whole = _look(theme), result["lengths"], (0.0, 1.0)
    axis = _length_axis(lengths, 8 if labels else _SLIM_TICKS)
    axis["title"] = {"text": "tokens in all"}
    values = [0.0, *(value for line in lines for value in line.values())]
    y_axis = {
        "range": _padded(values, high=0.1),
        "title": {"text": y_title},
        "zeroline": True,
        "zerolinecolor": look.soft,
        "zerolinewidth": 1,
    }
    space = _space(width, lines, labels=labels)
    panel = space.fit(_Panel("", whole, whole, heading, axis, y_axis))
    trained = sorted({row["train_length"] for row in result["variants"]})
    trained = [length for length in trained if min(lengths) <= length <= max(lengths)]
    return _figure(
        [panel],
        [line.trace(panel) for line in lines],
        _trained_mark(panel, trained, look),
        (_end_labels(panel, lines, digits, sign) if labels else [])
        + _missing_note(panel, lines)
        + [_trained_note(panel, length, look) for length in trained],
        title=title,
        subtitle=f"{markup(retrieval_samples(result))} · 95 % intervals · {_machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )
