"""The panel of a comparison that shows what share of the ceiling's gain rows reach."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from freeatten_core.results.ceiling import ceiling_text, share_lengths
from freeatten_core.results.format import (
    MISSING,
    Interval,
    Result,
    count,
    mean,
    percent_range,
    scaled,
)
from freeatten_core.results.rows import CEILING_PARTS, ceiling_shares

from .canvas import (
    LABEL_ROOM,
    Drawing,
    Element,
    Look,
    Panel,
    Space,
    Theme,
    length_axis,
    look_of,
    padded,
    panel_drawing,
)
from .lines import (
    Line,
    Part,
    label_height,
    line_labels,
    missing_note,
    names_beside,
    names_width,
)
from .rows import short_label
from .styles import markup, row_labels, row_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["share_panel", "share_part", "shares_drawing", "shares_figure"]

QUESTION = "How near does a row come to one that was trained at the longer length?"
STEP, MOST_SHARES = 0.09, 320
"""From one row's point to the next of a text, and pixels of a panel that needs no more."""

LEAST, MOST = -50.0, 150.0
"""% that the axis reaches to at most; rows that break lie far below."""


def share_panel(
    result: Result, key: str, x_domain: tuple[float, float], y_domain: tuple[float, float]
) -> Panel:
    """Its axes: % by length, from 0 or the least to 100 or the most."""
    lengths = share_lengths(result)
    found = [value for line in _lines(result) for value in line.values(reach=20)]
    values = [min(max(value, LEAST), MOST) for value in found]
    return Panel(
        key,
        x_domain,
        y_domain,
        "<b>Share of the ceiling</b>: 100 is as low a loss as that of "
        f"{markup(ceiling_text(result))}; 0 is that at 1×",
        length_axis(lengths),
        {
            "range": padded([*values, 0.0, 100.0]),
            "title": {"text": "share (%)"},
            "zeroline": True,
            "zerolinewidth": 1.5,
        },
    )


def share_part(result: Result, panel: Panel, look: Look, labels: bool) -> Part:
    """Lines, with labels unless the page names them, and the ceiling at 100."""
    lines = _lines(result)
    notes = line_labels(panel, lines, partial(_form, panel)) if labels else []
    rows = zip(lines, result["variants"], strict=True)
    notes += missing_note(panel, [line for line, row in rows if "ceiling_share" in row])
    return Part([panel], [line.trace(panel) for line in lines], [_mark(panel, look)], notes)


def _form(panel: Panel, value: float) -> str:
    """A share in whole %, with an arrow where it lies beyond the axis."""
    low, high = panel.span
    arrow = "↑ " if value > high else "↓ " if value < low else ""
    return f"{arrow}{value:,.0f}".replace("-", "−")


def _lines(result: Result) -> list[Line]:
    """One a row, as in the other panels: that of the ceiling has no point."""
    rows, lengths = result["variants"], share_lengths(result)
    places = [result["lengths"].index(length) for length in lengths]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        found = row.get("ceiling_share") or [None] * len(result["lengths"])
        pairs = row.get("ceiling_share_ci95") or [None] * len(result["lengths"])
        shares = [found[at] for at in places]
        bounds = [pairs[at] for at in places]
        hover = [
            f"{label}<br>{count(length)} tokens: {percent_range(share, pair)} % of the ceiling"
            for length, share, pair in zip(lengths, shares, bounds, strict=True)
        ]
        values = [None if share is None else 100 * share for share in shares]
        lines.append(
            Line(label, style, lengths, values, [scaled(each, 100) for each in bounds], hover)
        )
    return lines


def _mark(panel: Panel, look: Look) -> Element:
    place = {"xref": f"x{panel.key} domain", "yref": f"y{panel.key}", "x0": 0, "x1": 1}
    line = {"color": look.soft, "dash": "dot", "width": 1.3}
    return {"type": "line", **place, "y0": 100, "y1": 100, "line": line, "layer": "below"}


# Over runs


def shares_figure(result: Result, *, theme: Theme = "light", width: int = 900) -> go.Figure:
    """What `shares_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(shares_drawing(result, theme=theme, width=width))


def shares_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> Drawing:
    """The share of its own ceiling that every variant reaches: a mean over runs, and their range.

    Args:
        result: a joined result with runs that were trained at a longer length.
        title: another one than the question that the figure answers.
        theme: of the page behind the figure.
        width: in pixels.
        labels: names beside; without, the page must have a legend.
    """
    look, lines = look_of(theme), _run_lines(result)
    texts = [f"{line.label}<br><b>{_both(line)}</b>" for line in lines]
    right = max(LABEL_ROOM, names_width(texts))
    height = max(MOST_SHARES, sum(map(label_height, texts)))
    space = Space(width, height, right)
    panel = space.fit(_run_panel(lines))
    return panel_drawing(
        [panel],
        [line.trace(panel) | {"mode": "markers"} for line in lines],
        [_mark(panel, look)],
        names_beside(panel, lines, texts) if labels else [],
        title=QUESTION if title is None else title,
        subtitle="share of what the same variant gains that was trained at that length · means "
        f"over runs, strokes: their range · {result['device']}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _run_lines(result: Result) -> list[Line]:
    """Two points a variant, on code and on books, in %."""
    found = ceiling_shares(result)
    rows = [{"variant": variant} for variant in found]
    lines = []
    named = zip(found.values(), map(short_label, found), row_styles(rows), strict=True)
    for at, (by_text, label, style) in enumerate(named):
        shift = (at - (len(found) - 1) / 2) * STEP
        values = [100 * mean(shares) if shares else None for shares in by_text.values()]
        pairs: list[Interval] = [
            [100 * min(shares), 100 * max(shares)] if shares else None
            for shares in by_text.values()
        ]
        hover = [
            f"{label}<br>{part}: {_ends(pair)} % of the ceiling's gain"
            for part, pair in zip(by_text, pairs, strict=True)
        ]
        places = [group + 1 + shift for group in range(len(by_text))]
        lines.append(Line(label, style, places, values, pairs, hover))
    return lines


def _run_panel(lines: Sequence[Line]) -> Panel:
    values = [min(max(value, LEAST), MOST) for line in lines for value in line.values()]
    return Panel(
        "",
        (0.0, 1.0),
        (0.0, 1.0),
        "<b>Share of the ceiling</b>: 100 is as low a loss as if it had been trained there, 0 that "
        "at 1×",
        {
            "range": [0.5, len(CEILING_PARTS) + 0.5],
            "tickvals": list(range(1, len(CEILING_PARTS) + 1)),
            "ticktext": list(CEILING_PARTS),
            "title": {"text": ""},
        },
        {
            "range": padded([*values, 0.0, 100.0]),
            "title": {"text": "share (%)"},
            "zeroline": True,
            "zerolinewidth": 1.5,
        },
    )


def _both(line: Line) -> str:
    parts = zip(CEILING_PARTS, line.intervals, strict=True)
    return ", ".join(f"{part} {_ends(pair)}" for part, pair in parts)


def _ends(pair: Interval) -> str:
    """`83 to 96`, with an arrow where the axis ends before."""
    if pair is None:
        return MISSING
    low, high = (f"{end or 0.0:,.0f}".replace("-", "−") for end in pair)
    arrow = "↓ " if (pair[1] or 0.0) < LEAST else ""
    return arrow + " to ".join(dict.fromkeys([low, high]))
