"""The panel of a comparison that shows what share of the ceiling's gain rows reach."""

from __future__ import annotations

from functools import partial

from freeatten_core.results.ceiling import ceiling_text, share_lengths
from freeatten_core.results.format import Result, count, percent_range, scaled

from .canvas import Element, Look, Panel, length_axis, padded
from .lines import Line, Part, line_labels, missing_note
from .styles import markup, row_labels, row_styles

__all__ = ["share_panel", "share_part"]

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
