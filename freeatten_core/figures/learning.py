"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from freeatten_core.results.format import count, number

from .canvas import Drawing, Panel, Theme, look_of, padded, panel_drawing
from .lines import Line, end_labels, missing_note, space_for
from .styles import style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Curves", "Options", "curve_drawing", "curve_figure"]

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""Points by variant."""


class Options(TypedDict, total=False):
    """What `curve_drawing` takes by name."""

    title: str
    theme: Theme
    width: int
    labels: bool


def curve_figure(curves: Curves, **options: Unpack[Options]) -> go.Figure:
    """What `curve_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(curve_drawing(curves, **options))


def curve_drawing(
    curves: Curves,
    *,
    title: str = "Learning curves of the checkpoints",
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> Drawing:
    """Validation loss (and, thin, training loss) by step, for several variants.

    Args:
        curves: variant → points with `step`, `validation` and optionally `loss`.
        title: empty for none.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
        labels: names at the ends of the lines; without, the page must have a legend.
    """
    look = look_of(theme)
    lines = [_curve(variant, points, "validation") for variant, points in curves.items()]
    thin = [_curve(variant, points, "loss") for variant, points in curves.items()]
    space = space_for(width, lines, labels=labels)
    panel = space.fit(_curve_panel(lines))
    faint = [line.trace(panel, markers=False) for line in thin if line.end is not None]
    for trace in faint:
        trace["line"] |= {"width": 1, "dash": "solid"}
        trace["opacity"] = 0.35
    notes = end_labels(panel, lines, 3, sign=False) if labels else []
    return panel_drawing(
        [panel],
        [*faint, *(line.trace(panel, markers=False) for line in lines)],
        [],
        notes + missing_note(panel, lines),
        title=title,
        subtitle="lines: validation · faint: training batches" if faint else "validation loss",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _curve(variant: str, points: Sequence[Mapping[str, Any]], key: str) -> Line:
    style = style_of(variant)
    steps = [point["step"] for point in points]
    values = [point.get(key) for point in points]
    hover = [
        f"{style.label}<br>step {count(step)}: {number(value, 4)} ({key})"
        for step, value in zip(steps, values, strict=True)
    ]
    return Line(style.label, style, steps, values, [None] * len(steps), hover)


def _curve_panel(lines: Sequence[Line]) -> Panel:
    last = max((step for line in lines for step in line.x), default=1)
    framed = [
        value
        for line in lines
        for step, value in zip(line.x, line.y, strict=True)
        if value is not None and math.isfinite(value) and step >= last / 20
    ]
    return Panel(
        "",
        (0.0, 1.0),
        (0.0, 1.0),
        "<b>Loss</b> against step; the first twentieth may lie above the frame",
        {"range": [0, last * 1.02], "tickformat": ",", "title": {"text": "step"}},
        {"range": padded(framed), "title": {"text": "loss (nats per token)"}},
    )
