"""Figures of `freeatten retrieve`: copying, and what small models were trained to answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from freeatten_core.results.format import (
    Result,
    count,
    declares,
    marked_length,
    number,
    percent,
    scaled,
    signed,
    with_range,
)
from freeatten_core.results.retrieval import retrieval_samples
from freeatten_core.results.tasks import task_question

from .canvas import (
    SLIM_TICKS,
    Panel,
    Theme,
    length_axis,
    look_of,
    machine,
    padded,
    panel_figure,
    trained_mark,
    trained_note,
)
from .lines import Line, end_labels, length_lines, missing_note, space_for
from .styles import markup

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["copy_figure", "retrieval_title", "task_figure"]


def retrieval_title(result: Result) -> str:
    """The question that a result of `freeatten retrieve` answers."""
    if result["task"] == "copy":
        return f"Does it copy {count(result['block'])} tokens from the start of the sequence?"
    return task_question(result[result["task"]])


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
        length_lines(result, "gain", "gain_ci95", "nats a token gained", signed),
        heading="<b>Gain</b> from the first copy: higher is better, 0 is not using it",
        y_title="gain (nats per token)",
        title=retrieval_title(result) if title is None else title,
        digits=2,
        sign=True,
        theme=theme,
        width=width,
        labels=labels,
    )


def task_figure(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> go.Figure:
    """Share of queries answered right, in %, against the length.

    Args:
        result: what `freeatten retrieve --json` prints with another task than copy.
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
        length_lines(shown, "accuracy", "accuracy_ci95", "% right", form, with_range),
        heading=f"<b>Answers</b>: right (a guess: {percent(result['chance'])} %)",
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
    lines: Sequence[Line],
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
    look, lengths, whole = look_of(theme), result["lengths"], (0.0, 1.0)
    axis = length_axis(lengths, 8 if labels else SLIM_TICKS)
    axis["title"] = {"text": "tokens in all"}
    values = [0.0, *(value for line in lines for value in line.values())]
    y_axis = {
        "range": padded(values, high=0.1),
        "title": {"text": y_title},
        "zeroline": True,
        "zerolinecolor": look.soft,
        "zerolinewidth": 1,
    }
    space = space_for(width, lines, labels=labels)
    panel = space.fit(Panel("", whole, whole, heading, axis, y_axis))
    known = {marked_length(row) for row in result["variants"]} - {None}
    trained = sorted(each for each in known if each and min(lengths) <= each <= max(lengths))
    declared = all(declares(row) for row in result["variants"])
    return panel_figure(
        [panel],
        [line.trace(panel) for line in lines],
        trained_mark(panel, trained, look),
        (end_labels(panel, lines, digits, sign) if labels else [])
        + missing_note(panel, lines)
        + [trained_note(panel, length, look, declared=declared) for length in trained],
        title=title,
        subtitle=f"{markup(retrieval_samples(result))} · 95 % intervals · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )
