"""Figures of `freeatten bench`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freeatten_core.results.format import Entry, Interval, Result
from freeatten_core.results.speed import (
    LATENCIES,
    PASSES,
    baseline,
    facts,
    panels,
    peer_names,
    size,
    times,
)

from .canvas import (
    WIDTH,
    Element,
    Panel,
    Theme,
    grid_domains,
    length_axis,
    look_of,
    padded,
    panel_figure,
)
from .lines import Line, line_labels, missing_note, space_for
from .styles import Style, style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["peer_style", "ratio_ticks", "speed_figure"]

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
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = WIDTH
) -> go.Figure:
    """Time relative to the baseline against length, a panel for every pass and head size.

    Latencies, which have few lengths, are drawn where nothing else was measured.

    Args:
        result: what `freeatten bench --json` prints; any number may be missing.
        title: in place of the one made from the result.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look = look_of(theme)
    every, settings = panels(result), result["settings"]
    found = {place: rows for place, rows in every.items() if place[0] not in LATENCIES} or every
    passes = list(dict.fromkeys(pass_name for pass_name, _ in found))
    columns = len(found) // len(passes)
    lines_of = {
        place: [_speed_line(result, rows, peer) for peer in peer_names(rows)]
        for place, rows in found.items()
    }
    space = space_for(width, *lines_of.values(), columns=columns)
    domains = grid_domains(columns, len(passes), space)
    drawn: list[Panel] = []
    traces: list[Element] = []
    notes: list[Element] = []
    for index, ((pass_name, dim), lines) in enumerate(lines_of.items()):
        heading = f"<b>{PASSES[pass_name].capitalize()}</b>, heads of {dim}"
        key = f"{index + 1}" if index else ""
        panel = space.fit(_speed_panel(key, domains[index], heading, lines))
        drawn.append(panel)
        traces += [line.trace(panel) for line in lines]
        notes += line_labels(panel, lines, times)
        notes += missing_note(panel, lines, height=0.7)
    measured = f"causal, {settings['dtype']}, {settings['heads']} heads, {size(result)}"
    made_on = f"{result['device']}, torch {result['versions']['torch']}"
    return panel_figure(
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


def _speed_line(result: Result, rows: Sequence[Entry], peer: str) -> Line:
    timed = [row for row in rows if row["peer"] == peer]
    none: list[Interval] = [None] * len(timed)
    hover = ["<br>".join(facts(row, baseline(result))) for row in timed]
    lengths = [row["length"] for row in timed]
    return Line(peer, peer_style(peer), lengths, [row["ratio"] for row in timed], none, hover)


def _speed_panel(key: str, domain: tuple[Any, Any], heading: str, lines: Sequence[Line]) -> Panel:
    lengths = sorted({int(length) for line in lines for length in line.x})
    ratios = [math.log10(value) for line in lines for value in line.values() if value > 0]
    low, high = padded(ratios)
    shown = ratio_ticks(low, high)
    return Panel(
        key,
        *domain,
        heading,
        length_axis(lengths),
        {
            "type": "log",
            "range": [low, high],
            "tickvals": shown,
            "ticktext": [f"{tick:g}×" for tick in shown],
            "title": {"text": "time, relative"},
        },
    )


def ratio_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 of every power of ten within these logarithms; finer ones if they are under three."""
    for steps in ((1, 2, 5), (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        ticks = (step * 10.0**power for power in range(-3, 5) for step in steps)
        shown = sorted({round(tick, 9) for tick in ticks if low <= math.log10(tick) <= high})
        if len(shown) > 2:
            break
    return shown
