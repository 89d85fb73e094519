"""The figure of `freeatten longppl`: the loss on key tokens against that on the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freeatten_core.results.format import Interval, Result, count, number, percent
from freeatten_core.results.longppl import longppl_cells

from .canvas import Panel, Theme, look_of, machine, padded, panel_figure, texts_line
from .lines import Line, end_labels, missing_note, space_for
from .styles import row_labels, row_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["longppl_figure"]


def longppl_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = 900
) -> go.Figure:
    """A point a row; below others of as low a loss on the rest is what far context tells more.

    Args:
        result: what `freeatten longppl --json` prints.
        title: another one than the question that the figure answers.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look, whole, lines = look_of(theme), (0.0, 1.0), _points(result)
    rest = [x for line in lines for x in line.x if line.end is not None]
    keys = [value for line in lines for value in line.values()]
    share = percent(result["key_tokens"] / result["tokens"])
    x_axis = {
        "range": padded(rest, 0.15, 0.15),
        "title": {"text": "loss on the rest (nats per token)"},
    }
    y_axis = {
        "range": padded(keys, 0.15, 0.15),
        "title": {"text": "loss on key tokens (nats per token)"},
    }
    heading = f"<b>Key tokens</b>, {share} % of all: lower is better"
    space = space_for(width, lines)
    panel = space.fit(Panel("", whole, whole, heading, x_axis, y_axis))
    return panel_figure(
        [panel],
        [line.trace(panel) for line in lines],
        [],
        [*end_labels(panel, lines, 2, sign=False), *missing_note(panel, lines)],
        title=title or "Who knows what only far context tells?",
        subtitle=f"{texts_line(result)} of {count(result['length'])} tokens, short context "
        f"{count(result['truncation'])} · 95 % intervals · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
    )


def _points(result: Result) -> list[Line]:
    rows = result["variants"]
    found = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        intervals: list[Interval] = [row["key_loss_ci95"]]
        hover = (
            f"{label}<br>LongPPL {longppl_cells(row)[0]}<br>{number(row['key_loss'])} nats on key "
            f"tokens, {number(row['rest_loss'])} on the rest"
        )
        x = [0.0 if row["rest_loss"] is None else row["rest_loss"]]
        found.append(Line(label, style, x, [row["key_loss"]], intervals, [hover]))
    return found
