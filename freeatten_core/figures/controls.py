"""The panel of a comparison that sets Δ beside S and W, which use of the context has to beat."""

from __future__ import annotations

from collections.abc import Callable

from freeatten_core.results.format import (
    CONTROLS,
    UNMEASURED,
    Entry,
    Interval,
    Result,
    count,
    missing_control,
    signed,
    with_half_width,
)

from .canvas import Element, Look, Panel, Space, half_planes
from .lines import Line, Part, label_height, names_beside, names_width, near_range
from .styles import row_labels, row_styles

__all__ = ["controls_height", "controls_part", "has_controls"]

KEYS = [f"{name}_delta" for name in CONTROLS.values()]
"""Of S and W in a result's rows."""
AGAINST = {"Δ": "that forgets", "S": "sliding", "W": "with a window"}
"""What the same model is like that each compares with."""
LEAST_HEIGHT, SLIM_HEIGHT = 240, 230
"""In pixels; the second where a page names the rows."""
STEP, SPREAD = 0.09, 0.8
"""From one row's point to the next of a group, at most; what all of a group's take."""
NARROW = 900
"""Pixels of a figure whose labels have their numbers in a line of their own."""


def has_controls(result: Result) -> bool:
    """Whether S or W was measured of any row."""
    return any(row.get(key) is not None for row in result["variants"] for key in KEYS)


def controls_height(result: Result, width: int, *, labels: bool) -> int:
    """Of the panel, in pixels: as high as its labels."""
    if not labels:
        return SLIM_HEIGHT
    plain = [_label(row, label, width, signed) for row, label in _labelled(result)]
    return max(LEAST_HEIGHT, sum(map(label_height, plain)))


def controls_part(
    result: Result,
    space: Space,
    key: str,
    y_domain: tuple[float, float],
    look: Look,
    *,
    height: int,
    bars: bool,
    labels: bool,
) -> Part:
    """Δ, S and W of every row at the longest length, a group each, and their names with numbers.

    Args:
        height: what `controls_height` gave.
        bars: whether intervals are drawn.
        labels: names at the right; without, the page must have a legend.
    """
    lines = _lines(result, bars=bars)
    low, high = near_range(lines)
    texts = [
        _label(row, label, space.width, lambda value: _arrowed(value, low, high))
        for row, label in _labelled(result)
    ]
    room = max(names_width(texts) - space.right, 0) if labels else 0
    share = min(room / space.plotted(labels=labels), 0.5)
    panel = Panel(
        key,
        (0.0, 1.0 - share),
        y_domain,
        _heading(result),
        _axis(slim=not labels),
        {
            "range": [low, high],
            "title": {"text": "nats per token"},
            "tickformat": "+.2f" if high < 1 else "+.1f",
            "zeroline": True,
            "zerolinewidth": 1.5,
        },
        height,
    )
    notes = names_beside(panel, lines, texts) if labels else []
    shapes = [*half_planes(panel, look), *_dividers(panel, look)]
    return Part([panel], [_points(line, panel) for line in lines], shapes, notes)


def _heading(result: Result) -> str:
    return (
        f"<b>Δ, S and W</b> at {count(max(result['lengths']))} tokens: what uses the context is "
        "below 0 in each"
    )


def _axis(*, slim: bool) -> Element:
    texts = list(AGAINST) if slim else [f"<b>{name}</b>: {what}" for name, what in AGAINST.items()]
    return {
        "range": [0.5, 3.5],
        "tickvals": [1, 2, 3],
        "ticktext": texts,
        "title": {"text": "against the same model"},
    }


def _labelled(result: Result) -> list[tuple[Entry, str]]:
    rows = result["variants"]
    return list(zip(rows, row_labels(rows), strict=True))


def _lines(result: Result, *, bars: bool) -> list[Line]:
    """Three points a row, one in each group."""
    rows, none = result["variants"], (None, None)
    step = min(STEP, SPREAD / len(rows))
    found = []
    for at, ((row, label), style) in enumerate(
        zip(_labelled(result), row_styles(rows), strict=True)
    ):
        shift = (at - (len(rows) - 1) / 2) * step
        values = [row["delta"][-1], *map(row.get, KEYS)]
        pairs = [row["delta_ci95"][-1], *(row.get(f"{key}_ci95") for key in KEYS)]
        hover = [
            f"{label}<br>{name} {with_half_width(signed(value), pair)}, against the same model "
            f"{AGAINST[name]}"
            for name, value, pair in zip(AGAINST, values, pairs, strict=True)
        ]
        shown: list[Interval] = pairs if bars else [none] * len(pairs)
        places = [group + 1 + shift for group in range(len(values))]
        found.append(Line(label, style, places, values, shown, hover))
    return found


def _points(line: Line, panel: Panel) -> Element:
    return line.trace(panel) | {"mode": "markers"}


def _label(row: Entry, label: str, width: int, form: Callable[[float | None], str]) -> str:
    """A row's name with S and W."""
    s, w = (missing_control(row) if row.get(key) is None else form(row[key]) for key in KEYS)
    numbers = f"S and W {s}" if s == w == UNMEASURED else f"S\u00a0{s}, W\u00a0{w}"
    return f"{label}{'<br>' if width < NARROW else ' '}<b>{numbers}</b>"


def _arrowed(value: float | None, low: float, high: float) -> str:
    if value is None or low <= value <= high:
        return signed(value)
    return f"{'↑' if value > high else '↓'}\u00a0{signed(value, 2)}"


def _dividers(panel: Panel, look: Look) -> list[Element]:
    """Between the groups."""
    place = {"xref": f"x{panel.key}", "yref": f"y{panel.key} domain", "y0": 0, "y1": 1}
    line = {"color": look.grid, "dash": "solid", "width": 1.5}
    return [
        {"type": "line", **place, "x0": at, "x1": at, "line": line, "layer": "below"}
        for at in (1.5, 2.5)
    ]
