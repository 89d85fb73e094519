"""The figure of docs/softplus.md: the cube, a panel for every score and positivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freeatten_core.results.cube import CUBE, by_variant
from freeatten_core.results.format import Interval, Result, count, number
from freeatten_core.variants.stages import stages_of
from freeatten_core.variants.variant import Variant

from .canvas import Element, Panel, Theme, grid_domains, length_axis, look_of, padded, panel_figure
from .lines import Line, end_labels, space_for
from .styles import Style

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["cube_figure"]

_SHARPENED = {
    None: Style("none", "#d55e00", "solid", "circle", "●"),
    3: Style("p = 3", "#009e73", "dash", "diamond", "◆"),
    15: Style("p = 15", "#0a7bc4", "solid", "triangle-up", "▲"),
}
_HEADINGS = {
    ("dot", "exp"): "q·k / √D, <b>exp</b>",
    ("length-cosine", "exp"): "log D · log N · cos, <b>exp</b>",
    ("dot", "softplus"): "q·k / √D, <b>softplus</b>",
    ("length-cosine", "softplus"): "log D · log N · cos, <b>softplus</b>",
}


def cube_figure(
    result: Result, *, text: str = "code", theme: Theme = "light", width: int = 1280
) -> go.Figure:
    """Loss against length of every cell and run, sharpened or not.

    Args:
        result: `freeatten_core.results.cube.joined`.
        text: `code` or `books`.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look = look_of(theme)
    known = {name: runs for name, runs in by_variant(result).items() if name in CUBE}
    lines = {
        place: [
            line
            for name, runs in known.items()
            if _place(name) == place
            for line in _lines(name, runs, text)
        ]
        for place in _HEADINGS
    }
    values = [value for drawn in lines.values() for line in drawn for value in line.values()]
    space = space_for(width, *map(_first_of_each, lines.values()), columns=2)
    panels, traces, notes = [], [], []
    for index, (place, domain) in enumerate(zip(_HEADINGS, grid_domains(2, 2, space), strict=True)):
        key = f"{index + 1}" if index else ""
        panel = space.fit(_panel(key, domain, place, lines[place], values))
        panels.append(panel)
        traces += [line.trace(panel) for line in lines[place]]
        notes += end_labels(panel, _first_of_each(lines[place]), 2, sign=False)
    trained = count(result["train_length"])
    return panel_figure(
        panels,
        traces,
        [],
        notes,
        title="Is it the softplus? One recipe, trained at " + trained + " tokens",
        subtitle=f"loss against length, a line a run, {_of(text)} · colour: sharpening by "
        f"re-weighting · {_unmeasured(result, text)}{result['device']}",
        look=look,
        space=space,
        stacked=False,
    )


def _unmeasured(result: Result, text: str) -> str:
    """That the runs have no S and W, where they have none."""
    known = any(run[text].get("sliding_delta") is not None for run in result["runs"])
    return "" if known else "S and W, the controls, are unmeasured · "


def _place(name: str) -> tuple[str, str]:
    stages = stages_of(Variant.parse(name).computes)
    return stages.score, stages.positivity


def _of(text: str) -> str:
    return "Python's standard library" if text == "code" else "held-out books"


def _lines(name: str, runs: list[dict[str, Any]], text: str) -> list[Line]:
    style = _SHARPENED[stages_of(Variant.parse(name).computes).sharpen]
    found = []
    for run in runs:
        row = run[text]
        none: list[Interval] = [None] * len(row["lengths"])
        hover = [
            f"{name}, seed {run['seed']}<br>{count(length)} tokens: {number(loss)} nats per token"
            for length, loss in zip(row["lengths"], row["loss"], strict=True)
        ]
        found.append(Line(style.label, style, row["lengths"], row["loss"], none, hover))
    return found


def _first_of_each(lines: list[Line]) -> list[Line]:
    """One line of each sharpening, to be labelled."""
    return list({line.label: line for line in reversed(lines)}.values())


def _panel(
    key: str,
    domain: tuple[Any, Any],
    place: tuple[str, str],
    lines: list[Line],
    values: list[float],
) -> Panel:
    axis: Element = length_axis([int(length) for length in lines[0].x])
    return Panel(
        key,
        *domain,
        _HEADINGS[place],
        axis,
        {"range": padded(values), "title": {"text": "loss (nats per token)"}},
    )
