"""Every row of a recipe in one picture: its loss at 1×, and what it gains or loses at 16×."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from freeatten_core.results.format import CONTROLS, count, mean, number, plural, signed
from freeatten_core.results.rows import RecipeRow
from freeatten_core.variants.stages import stages_of
from freeatten_core.variants.variant import Variant

from .canvas import (
    TEXT_SIZE,
    WIDTH,
    Drawing,
    Element,
    Look,
    Panel,
    Space,
    Theme,
    half_planes,
    level_mark,
    look_of,
    panel_drawing,
)
from .lines import text_width
from .placement import Box, Stroke, placed_labels
from .styles import STEPS, STYLES, markup

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["TEXTS", "rows_drawing", "rows_figure", "short_label"]

HEIGHT, SLIM_HEIGHT, LEFT_MARGIN, RIGHT_MARGIN, LABEL_HEIGHT, MARK = 820, 480, 70, 30, 15, 5
"""Pixels: of the panel with and without names, at its left and right, of a label, half a sign."""
NAMED_WIDTH, NAMED_ROWS = 900, 8
"""Pixels from which on every row is named. Below, so many that use their context, those with the
least loss there, and those with a look of their own; a pointer tells the others."""
NOTE_WIDTH = 130
"""Pixels of what a region is called, in its corner."""
LINEAR = 0.02
"""Nats up to which the axis of Δ is even; beyond, equal steps are equal factors."""
TICKS = (-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
REACH = 0.5
"""Nats above the least loss at 1× that the axis reaches to; rows beyond stand at its edge."""
COLOURS = {"exp": "#d55e00", "softplus": "#0a7bc4"}
OTHERS = "#8c8c8c"
TEXTS = {"code": "Python's standard library", "books": "held-out books"}
GATE, LOCAL = " + gate", " + local"
"""Of short labels. Rows with both are many and lie close together: they have a square, and their
labels leave these words out."""


def rows_figure(
    rows: Sequence[RecipeRow], *, text: str = "code", theme: Theme = "light", width: int = WIDTH
) -> go.Figure:
    """What `rows_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(rows_drawing(rows, text=text, theme=theme, width=width))


def rows_drawing(
    rows: Sequence[RecipeRow],
    *,
    text: str = "code",
    title: str | None = None,
    theme: Theme = "light",
    width: int = WIDTH,
    labels: bool = True,
) -> Drawing:
    """A point a row, a stroke from the least to the largest of its runs, filled where it uses.

    Args:
        rows: of one recipe.
        text: `code` or `books`.
        title: another one than the question that the figure answers.
        theme: of the page behind the figure.
        width: in pixels.
        labels: names beside the points; without, a page can only say them when it is asked.
    """
    look = look_of(theme)
    space = Space(width, HEIGHT if labels else SLIM_HEIGHT, RIGHT_MARGIN)
    panel = space.fit(_panel(rows, text, 2 if labels else None))
    trained = rows[0].train_length
    question = (
        f"Trained at {count(trained)} tokens, read at {count(16 * trained)}: which rows use it?"
    )
    return panel_drawing(
        [panel],
        [_trace(row, text, panel) for row in rows],
        _regions(panel, look),
        (_labels(rows, text, panel, width, look) if labels else []) + _region_notes(panel),
        title=question if title is None else title,
        subtitle=_subtitle(rows, text),
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _subtitle(rows: Sequence[RecipeRow], text: str) -> str:
    """What the signs mean, and what the rows have and have not in common."""
    lacks = [
        (short_label(row.variant), *(row.controls(text, name)[0] for name in CONTROLS.values()))
        for row in rows
    ]
    unbounded = ", ".join(str(name) for name, s, w in lacks if s is not None and w is None)
    lacking = [f"no W for {unbounded}"] if unbounded else []
    if any(s is None for _, s, _ in lacks):
        lacking.append("rows of the cube have neither S nor W and are never filled")
    parts = [
        f"{plural(len(rows), 'row')} by one recipe, {TEXTS[text]}",
        "orange: exponential, blue: softplus, grey: others",
        "filled: uses 16× in every run by Δ, S and W"
        + (f" ({'; '.join(lacking)})" if lacking else ""),
        "strokes: range over runs",
    ]
    if any(_is_gated_local(row) for row in rows):
        parts.insert(2, "squares: with a forget gate and local rotary layers beside what is named")
    if any(len(row.results) > 1 for row in rows):
        parts.append("tokenizers differ between results: means over two where a row joins both")
    return " · ".join(parts)


def short_label(variant: str) -> str:
    """`softplus-r:p=3 + gate + local` for what the tables write in full."""
    if variant in STEPS:
        return STEPS[variant].label
    words = re.sub(r"position=(rope@\d+-)+none(-rope@\d+)*(-none)?", "local", variant)
    words = words.replace("position=none", "no positions").replace("position=", "")
    words = words.replace("gate=forget", "gate").replace("output=gated", "gated output")
    name, *options = re.split(r":(?!p=|s=)", words)
    return markup(" + ".join([name, *options]))


def _panel(rows: Sequence[RecipeRow], text: str, digits: int | None) -> Panel:
    """Args: digits: of the ticks of Δ; None for as few as they need, where there is little room."""
    losses = [row.loss(text) for row in rows]
    least = min(losses)
    most = min(max(losses), least + REACH)
    deltas = [_place(value) for row in rows for value in row.deltas(text)]
    room = (max(deltas) - min(deltas)) * 0.06
    return Panel(
        "",
        (0.0, 1.0),
        (0.0, 1.0),
        "<b>Δ at 16×</b>, below 0: better than forgetting, by <b>loss at 1×</b>, left: better",
        {
            "range": [least - 0.02, most + 0.03],
            "title": {"text": "loss at the training length (nats per token)"},
        },
        {
            "range": [min(deltas) - room, max(deltas) + room],
            "title": {"text": "Δ at 16× (nats per token)"},
            "tickvals": [_place(tick) for tick in TICKS],
            "ticktext": [
                signed(tick, _digits(tick) if digits is None else digits) for tick in TICKS
            ],
        },
    )


def _digits(tick: float) -> int:
    """Behind the point, of 10, 0.5 or 0.02."""
    return len(f"{tick:g}".partition(".")[2])


def _place(delta: float) -> float:
    """Of Δ on its axis."""
    return math.asinh(delta / LINEAR)


def _mean(row: RecipeRow, text: str) -> float:
    return mean(row.deltas(text))


def _edge(panel: Panel, loss: float) -> float:
    """Where a loss stands, at the right edge if it lies beyond."""
    return min(loss, float(panel.x_axis["range"][1]))


def _colour(row: RecipeRow) -> str:
    return COLOURS.get(stages_of(Variant.parse(row.variant).computes).positivity, OTHERS)


def _trace(row: RecipeRow, text: str, panel: Panel) -> Element:
    deltas, mean = row.deltas(text), _mean(row, text)
    ends = [_place(value) for value in (min(deltas), mean, max(deltas))]
    filled = row.uses(text)
    said = f"{short_label(row.variant)}<br>loss at 1× {number(row.loss(text))}, at 16× "
    said += f"{number(row.loss(text, 16))}<br>Δ {signed(min(deltas))} to {signed(max(deltas))}, "
    return {
        "type": "scatter",
        "mode": "markers",
        "name": short_label(row.variant),
        "x": [_edge(panel, row.loss(text))],
        "y": [ends[1]],
        "marker": {
            "symbol": ("square" if _is_gated_local(row) else "circle")
            + ("" if filled else "-open"),
            "size": 2 * MARK,
            "color": _colour(row),
            "line": {"width": 2, "color": _colour(row)},
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "arrayminus": [ends[1] - ends[0]],
            "array": [ends[2] - ends[1]],
            "thickness": 1.5,
            "width": 0,
            "color": _colour(row),
        },
        "hovertext": [said + plural(len(deltas), "run")],
        "hoverinfo": "text",
        "cliponaxis": False,
    }


def _labels(
    rows: Sequence[RecipeRow], text: str, panel: Panel, width: int, look: Look
) -> list[Element]:
    low, high = panel.x_axis["range"]
    across = width - LEFT_MARGIN - RIGHT_MARGIN
    zero = panel.pixel(_place(0.0))
    strokes = [((0.0, zero), (across, zero))]
    for y in (LABEL_HEIGHT / 2, panel.height - LABEL_HEIGHT / 2):
        strokes.append(((across - NOTE_WIDTH, y), (across, y)))
    using = sorted((row for row in rows if row.uses(text)), key=lambda row: row.loss(text, 16))[
        :NAMED_ROWS
    ]
    named, points = [], []
    for row in rows:
        x = (_edge(panel, row.loss(text)) - low) / (high - low) * across
        y = panel.pixel(_place(_mean(row, text)))
        least, largest = (panel.pixel(_place(end(row.deltas(text)))) for end in (min, max))
        strokes.append(((x, least), (x, largest)))
        if width >= NAMED_WIDTH or row in using or row.variant in STYLES:
            named.append(row)
            points.append((x, y))
        else:
            strokes.append(((x - MARK, y), (x + MARK, y)))
    shown = [_label(row, text, panel) for row in named]
    widths = [text_width(label) for label in shown]
    boxes = _boxes(tuple(points), tuple(widths), (across, panel.height), tuple(strokes))
    return [
        {
            "text": label,
            "font": {"color": look.text, "size": 12},
            "xref": "x",
            "yref": "y",
            "x": _edge(panel, row.loss(text)),
            "y": _place(_mean(row, text)),
            "ax": box.x - x,
            "ay": box.y - y,
            "xanchor": "center",
            "yanchor": "middle",
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 0.7,
            "arrowcolor": look.soft,
            "standoff": 5,
            "borderpad": 0,
        }
        for row, label, (x, y), box in zip(named, shown, points, boxes, strict=True)
    ]


@lru_cache(maxsize=16)
def _boxes(
    points: tuple[tuple[float, float], ...],
    widths: tuple[float, ...],
    plot: tuple[float, float],
    strokes: tuple[Stroke, ...],
) -> list[Box]:
    """Where labels stand is the same in both themes and for every visitor of a page."""
    return placed_labels(points, widths, LABEL_HEIGHT, plot, strokes=strokes)


def _is_gated_local(row: RecipeRow) -> bool:
    name = short_label(row.variant)
    return bool(re.search(rf"{re.escape(GATE)}(?!d)", name)) and LOCAL in name


def _label(row: RecipeRow, text: str, panel: Panel) -> str:
    loss, name = row.loss(text), short_label(row.variant)
    if _is_gated_local(row):
        name = re.sub(rf"{re.escape(GATE)}(?!d)|{re.escape(LOCAL)}", "", name)
    beyond = loss > panel.x_axis["range"][1]
    return f"{name} → {number(loss, 2)}" if beyond else name


def _regions(panel: Panel, look: Look) -> list[Element]:
    line = {"color": look.text, "width": 1.3, "dash": "solid"}
    return [*half_planes(panel, look), level_mark(panel, 0.0, look) | {"line": line}]


def _region_notes(panel: Panel) -> list[Element]:
    small = {"font": {"size": TEXT_SIZE}}
    return [
        panel.note("longer context <b>hurts</b>", 0.995, 0.995, xanchor="right", yanchor="top")
        | small,
        panel.note("longer context <b>helps</b>", 0.995, 0.005, xanchor="right", yanchor="bottom")
        | small,
    ]
