"""Figures of `freeatten retrieve`: copying, and what small models were trained to answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from freeatten_core.results.format import (
    Entry,
    Result,
    count,
    declares,
    marked_length,
    number,
    percent,
    percent_range,
    signed,
    with_range,
)
from freeatten_core.results.retrieval import retrieval_samples
from freeatten_core.results.tasks import task_question

from .canvas import (
    SLIM_RIGHT,
    SLIM_TICKS,
    STACK_GAP,
    Drawing,
    Element,
    Look,
    Panel,
    Space,
    Theme,
    heading_lines,
    length_axis,
    look_of,
    machine,
    padded,
    panel_drawing,
    share_of,
    trained_mark,
    trained_note,
)
from .cells import RIGHT_SHADE, cells
from .lines import Line, end_labels, length_lines, missing_note, percent_rows, space_for
from .styles import markup, row_labels

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "DISTANCE_READING",
    "Options",
    "grid_drawing",
    "retrieval_drawing",
    "retrieval_figure",
    "retrieval_title",
]

DISTANCE_READING = (
    "% of queries answered right, by how far back the pair stands (rows, tokens at most) and by "
    "tokens in all (columns); left of the dashed line the sequence is no longer than in training"
)
_CELL, _DIGITS = 34, 10
"""Height of a cell, and the size of its digits, which fit a phone's; pixels."""
_UNDER, _LINE = 76, 17
"""Heights of what stands below a grid, its lengths upright, and of a line above; pixels."""


def retrieval_title(result: Result) -> str:
    """The question that a result of `freeatten retrieve` answers."""
    if result["task"] == "copy":
        return f"Does it copy {count(result['block'])} tokens from the start of the sequence?"
    return task_question(result[result["task"]])


class Options(TypedDict, total=False):
    """What `retrieval_drawing` takes by name."""

    title: str | None
    theme: Theme
    width: int
    labels: bool


def retrieval_figure(result: Result, **options: Unpack[Options]) -> go.Figure:
    """What `retrieval_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(retrieval_drawing(result, **options))


def retrieval_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> Drawing:
    """What the first copy of a block is worth, or the share of right answers, against the length.

    Args:
        result: what `freeatten retrieve --json` prints.
        title, theme, width, labels: as for `comparison_drawing`.
    """
    lines, words = (_gain if result["task"] == "copy" else _answers)(result)
    look, lengths, whole = look_of(theme), result["lengths"], (0.0, 1.0)
    axis = length_axis(lengths, 8 if labels else SLIM_TICKS)
    axis["title"] = {"text": "tokens in all"}
    values = [0.0, *(value for line in lines for value in line.values())]
    y_axis = {
        "range": padded(values, high=0.1),
        "title": {"text": words.y_title},
        "zeroline": True,
        "zerolinecolor": look.soft,
        "zerolinewidth": 1,
    }
    space = space_for(width, lines, labels=labels)
    panel = space.fit(Panel("", whole, whole, words.heading, axis, y_axis))
    known = {marked_length(row) for row in result["variants"]} - {None}
    trained = sorted(each for each in known if each and min(lengths) <= each <= max(lengths))
    declared = all(declares(row) for row in result["variants"])
    return panel_drawing(
        [panel],
        [line.trace(panel) for line in lines],
        trained_mark(panel, trained, look),
        (end_labels(panel, lines, words.digits, words.sign) if labels else [])
        + missing_note(panel, lines)
        + [trained_note(panel, length, look, declared=declared) for length in trained],
        title=retrieval_title(result) if title is None else title,
        subtitle=f"{markup(retrieval_samples(result))} · 95 % intervals · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


class _Words(NamedTuple):
    """What is said beside the lines, and how their last values are written."""

    heading: str
    y_title: str
    digits: int
    sign: bool


def _gain(result: Result) -> tuple[list[Line], _Words]:
    """What the first copy of a block is worth for the second, against the tokens in all."""
    heading = "<b>Gain</b> from the first copy: higher is better, 0 is not using it"
    lines = length_lines(result, "gain", "gain_ci95", "nats a token gained", signed)
    return lines, _Words(heading, "gain (nats per token)", 2, sign=True)


def _answers(result: Result) -> tuple[list[Line], _Words]:
    """Share of queries answered right, in %, against the length."""
    shown = {**result, "variants": percent_rows(result, "accuracy")}
    form = partial(number, digits=1)
    lines = length_lines(shown, "accuracy", "accuracy_ci95", "% right", form, with_range)
    heading = f"<b>Answers</b>: right (a guess: {percent(result['chance'])} %)"
    return lines, _Words(heading, "queries answered right (%)", 0, sign=False)


def grid_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 1280,
    columns: int = 4,
) -> Drawing:
    """Share of queries answered right, in %, by distance and length: a grid for every variant.

    Args:
        result: what `freeatten retrieve --json` prints with another task than copy.
        title, theme, width: as for `comparison_drawing`.
        columns: how many grids stand side by side.
    """
    look, labels = look_of(theme), row_labels(result["variants"])
    height = _CELL * len(result["distances"])
    rows = -(-len(labels) // columns)
    space = Space(width, height)
    across = [
        share_of(column, columns, SLIM_RIGHT / space.plotted(labels=False))
        for column in range(columns)
    ]
    headings = [
        heading_lines(f"<b>{label}</b>", across[at % columns], space, labels=False)
        for at, label in enumerate(labels)
    ]
    longest = max(map(len, headings[columns:]), default=0)
    space = replace(space, gap=max(STACK_GAP, _UNDER + _LINE * longest))
    down = space.gap / (rows * height + (rows - 1) * space.gap)
    panels, traces, shapes = [], [], []
    for at, (row, heading) in enumerate(zip(result["variants"], headings, strict=True)):
        line, column = divmod(at, columns)
        y_domain = share_of(rows - 1 - line, rows, down)
        x_axis, y_axis = _grid_axes(result, is_first=column == 0)
        key = str(at + 1) if at else ""
        panel = Panel(key, across[column], y_domain, "<br>".join(heading), x_axis, y_axis, height)
        panels.append(panel)
        traces.append(_grid_cells(panel, result, row, look))
        shapes += _grid_mark(panel, result, row, look)
    return panel_drawing(
        panels,
        traces,
        shapes,
        [],
        title=retrieval_title(result) if title is None else title,
        subtitle=f"{DISTANCE_READING} · {markup(retrieval_samples(result))} · {machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=False,
    )


def _grid_axes(result: Result, *, is_first: bool) -> tuple[Element, Element]:
    """Axes that count lengths and distances; the distances are named beside the first alone."""
    lengths, distances = result["lengths"], result["distances"]
    return {
        "tickvals": list(range(len(lengths))),
        "ticktext": [count(length) for length in lengths],
        "tickangle": -90,
        "range": [-0.5, len(lengths) - 0.5],
        "title": {"text": "tokens in all"},
    }, {
        "tickvals": list(range(len(distances))),
        "ticktext": [f"≤ {count(edge)}" for edge in distances],
        "range": [-0.5, len(distances) - 0.5],
        "showticklabels": is_first,
        "showgrid": False,
        "title": {"text": ""},
    }


def _grid_cells(panel: Panel, result: Result, row: Entry, look: Look) -> Element:
    by_distance = [*zip(*row["by_distance"], strict=True)]
    places = [
        [f"{count(length)} tokens, up to {count(edge)} back" for length in result["lengths"]]
        for edge in result["distances"]
    ]
    return cells(
        panel,
        [[part["accuracy"] for part in parts] for parts in by_distance],
        [
            ["" if not p["queries"] else f"{100 * p['accuracy']:.0f}" for p in parts]
            for parts in by_distance
        ],
        [
            [
                f"{place}: {percent_range(part['accuracy'], part['ci95'])} % of "
                f"{count(part['queries'])} queries"
                for place, part in zip(line, parts, strict=True)
            ]
            for line, parts in zip(places, by_distance, strict=True)
        ],
        RIGHT_SHADE,
        look,
        _DIGITS,
    )


def _grid_mark(panel: Panel, result: Result, row: Entry, look: Look) -> list[Element]:
    """A dashed line behind the last length that was trained on."""
    trained = sum(length <= row["train_length"] for length in result["lengths"])
    return trained_mark(
        panel, [trained - 0.5] if 0 < trained < len(result["lengths"]) else [], look
    )
