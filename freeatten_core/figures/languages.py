"""The figure of `freeatten languages`: accuracy against the length of the string, by language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from freeatten_core.results.format import Interval, Result, count, percent, plural

from .canvas import (
    Drawing,
    Element,
    Look,
    Panel,
    Theme,
    grid_domains,
    look_of,
    machine,
    panel_drawing,
    trained_mark,
    trained_note,
)
from .lines import Line, end_labels, missing_note, space_for
from .styles import row_labels, row_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["languages_drawing", "languages_figure"]

COLUMNS = 2
RANGE = [-4, 106]
"""Of an axis of percents, with room for lines at its ends."""


def languages_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = 1280
) -> go.Figure:
    """What `languages_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(languages_drawing(result, title=title, theme=theme, width=width))


def languages_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 1280,
    columns: int = COLUMNS,
    labels: bool = True,
) -> Drawing:
    """A panel a language, with the length trained on and what a guess has.

    Args:
        result: what `freeatten languages --json` prints.
        title: another one than the question that the figure answers.
        theme: of the page behind the figure.
        width: in pixels.
        columns: panels side by side.
        labels: names at the ends of the lines; without, the page must have a legend.
    """
    look, names = look_of(theme), list(result["languages"])
    drawn = [_lines(result, index) for index in range(len(names))]
    columns = min(columns, len(names))
    space = space_for(width, *drawn, columns=columns, labels=labels)
    domains = grid_domains(columns, -(-len(names) // columns), space, labels=labels)
    panels, traces, shapes, notes = [], list[Element](), list[Element](), list[Element]()
    for index, (name, lines) in enumerate(zip(names, drawn, strict=True)):
        panel = space.fit(_panel(result, name, f"{index + 1}" if index else "", domains[index]))
        panels.append(panel)
        traces += [line.trace(panel, markers=False) for line in lines]
        shapes += trained_mark(panel, [result["trained_to"]], look)
        shapes.append(_guess(panel, 100 * result["languages"][name], look))
        notes += end_labels(panel, lines, 0, sign=False) if labels else []
        notes += [*missing_note(panel, lines), trained_note(panel, result["trained_to"], look)]
    seeds = plural(len(result["seeds"]), "seed")
    return panel_drawing(
        panels,
        traces,
        shapes,
        notes,
        title="Which attention goes on tracking the state of longer strings?"
        if title is None
        else title,
        subtitle=f"% right by length, {plural(result['samples'], 'string')} of each, {seeds} "
        f"· dotted: a guess · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _lines(result: Result, index: int) -> list[Line]:
    rows, edges = result["variants"], result["lengths"]
    none: list[Interval] = [None] * len(edges)
    found = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        shares = row["languages"][index]["accuracy_by_length"] or [None] * len(edges)
        values = [None if share is None else 100 * share for share in shares]
        hover = [
            f"{label}<br>{count(before + 1)} to {count(edge)} symbols: {percent(share)} % right"
            for before, edge, share in zip([0, *edges], edges, shares, strict=False)
        ]
        found.append(Line(label, style, _middles(edges), values, none, hover))
    return found


def _middles(edges: Sequence[int]) -> list[float]:
    """Of the lengths in each bin."""
    return [(before + 1 + edge) / 2 for before, edge in zip([0, *edges], edges, strict=False)]


def _panel(result: Result, name: str, key: str, domain: tuple[Any, Any]) -> Panel:
    chance = percent(result["languages"][name]).removesuffix(".0")
    return Panel(
        key,
        *domain,
        f"<b>{name.replace('-', ' ').capitalize()}</b> (a guess: {chance} %)",
        {"range": [0, max(result["lengths"])], "title": {"text": "length of the string (symbols)"}},
        {"range": RANGE, "title": {"text": "answered right (%)"}},
    )


def _guess(panel: Panel, chance: float, look: Look) -> Element:
    place = {"xref": f"x{panel.key} domain", "yref": f"y{panel.key}", "x0": 0, "x1": 1}
    line = {"color": look.soft, "dash": "dot", "width": 1.3}
    return {"type": "line", **place, "y0": chance, "y1": chance, "line": line, "layer": "below"}
