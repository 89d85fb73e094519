"""The figure of `freeatten field`: the share of the gradient within a distance."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from freeatten_core.results.field import field_text
from freeatten_core.results.format import Result, count, number, with_range

from .canvas import (
    SLIM_TICKS,
    Drawing,
    Panel,
    Theme,
    length_axis,
    level_mark,
    look_of,
    machine,
    panel_drawing,
    texts_line,
    trained_mark,
    trained_note,
)
from .lines import Line, length_lines, line_labels, missing_note, percent_rows, space_for

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["field_drawing", "field_figure"]

RANGE = [0, 106]
"""Of the axis of percents, with room for lines at its end."""


def field_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = 900
) -> go.Figure:
    """What `field_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(field_drawing(result, title=title, theme=theme, width=width))


def field_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> Drawing:
    """The share of the gradient on so many last tokens, of every row.

    Args:
        result: what `freeatten field --json` prints.
        title: another one than the question that the figure answers.
        theme: of the page behind the figure.
        width: in pixels.
        labels: names and fields at the ends of the lines; without, the page must have a legend.
    """
    look, whole, distances = look_of(theme), (0.0, 1.0), result["distances"]
    lines = _lines(result)
    axis = length_axis(distances, 8 if labels else SLIM_TICKS) | {
        "title": {"text": "last tokens of the text"}
    }
    y_axis = {"range": RANGE, "title": {"text": "share of the gradient (%)"}}
    heading = f"<b>Gradient</b> of the last loss, cumulative (dotted: {result['share']})"
    space = space_for(width, lines, labels=labels)
    panel = space.fit(Panel("", whole, whole, heading, axis, y_axis))
    trained = sorted({row["train_length"] for row in result["variants"]})
    trained = [length for length in trained if length <= result["length"]]
    share = level_mark(panel, 100 * result["share"], look)
    return panel_drawing(
        [panel],
        [line.trace(panel) for line in lines],
        [*trained_mark(panel, trained, look), share],
        [
            *(line_labels(panel, lines, lambda _: "") if labels else []),
            *missing_note(panel, lines),
            *(trained_note(panel, length, look) for length in trained),
        ],
        title=f"How many of {count(result['length'])} tokens change what is said next?"
        if title is None
        else title,
        subtitle=f"{texts_line(result)} · 95 % intervals · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _lines(result: Result) -> list[Line]:
    """In percent; a label has the field beside the name."""
    rows = percent_rows(result, "share")
    shown = {**result, "lengths": result["distances"], "variants": rows}
    form = partial(number, digits=1)
    lines = length_lines(shown, "share", "share_ci95", "% of the gradient", form, with_range)
    # every line ends at 100 %: what is said there is the field
    return [
        replace(line, label=f"{line.label}: {field_text(row)}")
        for line, row in zip(lines, rows, strict=True)
    ]
