"""The figures of `freeatten stability`: what growing weights and growing lengths cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freeatten_core.results.format import Entry, Interval, Result, count
from freeatten_core.results.stability import (
    FORM_TITLES,
    KIND_TITLES,
    entries,
    error_text,
    lost,
    short,
)

from .canvas import (
    Element,
    Look,
    Panel,
    Space,
    Theme,
    length_axis,
    look_of,
    padded,
    panel_domains,
    panel_figure,
    share_of,
)
from .lines import Line, line_labels, missing_note, space_for
from .styles import style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["length_figure", "scale_figure"]

_WIDTH = 1280
_NAMES = 0.09
"""Share of the width that the variants' names take."""
_ACROSS, _DOWN = 0.02, 0.1
_ERRORS = "rgba(213,94,0,0)", "rgba(213,94,0,0.75)"
_LOST = "rgba(122,111,208,0.7)"
_LEAST, _MOST = -7.0, 0.0
"""Of the shades: logarithms of errors."""
_KERNELS = "largest of the kernels"


# Growing weights


def scale_figure(
    result: Result, *, kind: str = "random", theme: Theme = "light", width: int = _WIDTH
) -> go.Figure:
    """The error of every variant at every scale of query and key, by type and form.

    Args:
        result: what `freeatten stability --json` prints.
        kind: of inputs, one that was measured.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look, settings = look_of(theme), result["settings"]
    dtypes, forms = settings["dtypes"], list(FORM_TITLES)
    panels: list[Panel] = []
    traces: list[Element] = []
    for line, dtype in enumerate(dtypes):
        for column, form in enumerate(forms):
            key = str(len(panels) + 1) if panels else ""
            domain = _cell_domain(column, len(forms), line, len(dtypes))
            heading = f"<b>{dtype}, {form}</b>" + (f": {FORM_TITLES[form]}" if line == 0 else "")
            panels.append(_scale_panel(key, domain, result, kind, heading, named=column == 0))
            traces += _scale_cells(panels[-1], result, kind, dtype, form, look)
    return panel_figure(
        panels,
        traces,
        [],
        [],
        title="What do growing queries and keys cost?",
        subtitle=f"error of the output relative to float64 · violet: the share of rows that are "
        f"not finite, or zero by mistake · {count(settings['lengths'][-1])} tokens, "
        f"{_measured(result, kind)}",
        look=look,
        space=Space(width),
        stacked=False,
        labels=False,
    )


def _cell_domain(column: int, columns: int, line: int, lines: int) -> tuple[Any, Any]:
    low, high = share_of(column, columns, _ACROSS)
    across = _NAMES + (1 - _NAMES) * low, _NAMES + (1 - _NAMES) * high
    return across, share_of(lines - 1 - line, lines, _DOWN)


def _scale_panel(
    key: str, domain: tuple[Any, Any], result: Result, kind: str, heading: str, *, named: bool
) -> Panel:
    names = [entry["variant"] for entry in entries(result, kind)]
    scales = result["settings"]["scales"]
    axis = {
        "tickvals": list(range(len(scales))),
        "ticktext": [f"×{scale:g}" for scale in scales],
        "title": {"text": "query and key"},
        "range": [-0.5, len(scales) - 0.5],
    }
    y_axis = {
        "tickvals": list(range(len(names))),
        "ticktext": names,
        "showticklabels": named,
        "title": {"text": ""},
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
    }
    return Panel(key, *domain, heading, axis, y_axis)


def _scale_cells(
    panel: Panel, result: Result, kind: str, dtype: str, form: str, look: Look
) -> list[Element]:
    """Two heatmaps: shades of the error, and the cells where rows are lost."""
    scales = result["settings"]["scales"]
    errors, gone, texts, hover = [], [], [], []
    for entry in entries(result, kind):
        tables = entry["types"][dtype][form]
        shares = [lost(tables, -1, index) for index in range(len(scales))]
        found = [error_text(tables, -1, index) for index in range(len(scales))]
        found = [text.removeprefix("✗") for text in found]
        errors.append(
            [
                None if share else _shade(error)
                for share, error in zip(shares, tables["error"][-1], strict=True)
            ]
        )
        gone.append([1 if share else None for share in shares])
        texts.append(found)
        name = f"{entry['variant']}, {dtype}, {form}"
        hover.append(
            [f"{name}<br>×{scale:g}: {text}" for scale, text in zip(scales, found, strict=True)]
        )
    shared = {
        "type": "heatmap",
        "text": texts,
        "hovertext": hover,
        "hoverinfo": "text",
        "texttemplate": "%{text}",
        "textfont": {"color": look.text, "size": 12},
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "xaxis": f"x{panel.key}",
        "yaxis": f"y{panel.key}",
    }
    shades = {"zmin": _LEAST, "zmax": _MOST, "colorscale": [[0, _ERRORS[0]], [1, _ERRORS[1]]]}
    violet = {"zmin": 0, "zmax": 1, "colorscale": [[0, _LOST], [1, _LOST]]}
    return [{**shared, **shades, "z": errors}, {**shared, **violet, "z": gone}]


def _shade(error: float | None) -> float | None:
    if error is None:
        return None
    return math.log10(error) if error > 0 else _LEAST


# Growing lengths


def length_figure(
    result: Result, *, kind: str = "checkpoint", theme: Theme = "light", width: int = _WIDTH
) -> go.Figure:
    """The error of the guarded form against length, a panel for each of up to two types.

    Args:
        result: what `freeatten stability --json` prints.
        kind: of inputs, one that was measured.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look, dtypes = look_of(theme), result["settings"]["dtypes"][:2]
    panels: list[Panel] = []
    traces: list[Element] = []
    notes: list[Element] = []
    lines_of = [
        [
            *(_error_line(result, entry, dtype) for entry in entries(result, kind)),
            _kernel_line(result, kind, dtype, look),
        ]
        for dtype in dtypes
    ]
    space = space_for(width, *lines_of, columns=len(dtypes))
    domains = panel_domains(len(dtypes), space, stacked=False)
    for dtype, domain, lines in zip(dtypes, domains, lines_of, strict=True):
        key = str(len(panels) + 1) if panels else ""
        panels.append(space.fit(_length_panel(key, domain, f"<b>{dtype}</b>, safe", lines)))
        traces += [line.trace(panels[-1]) for line in lines]
        notes += line_labels(panels[-1], lines, short) + missing_note(panels[-1], lines)
    return panel_figure(
        panels,
        traces,
        [],
        notes,
        title="Does the error grow with the length?",
        subtitle="relative to float64, log scale: lower is better · safe: computed in that type "
        f"with max-subtraction or its like · {_measured(result, kind)}",
        look=look,
        space=space,
        stacked=False,
    )


def _error_line(result: Result, entry: Entry, dtype: str) -> Line:
    tables, lengths = entry["types"][dtype]["safe"], result["settings"]["lengths"]
    errors = [None if lost(tables, at, 0) else tables["error"][at][0] for at in range(len(lengths))]
    name = entry["variant"]
    label = name if errors[-1] is not None else f"{name}, then lost"
    return _line(label, replace(style_of(name), label=label), lengths, errors)


def _kernel_line(result: Result, kind: str, dtype: str, look: Look) -> Line:
    """The largest error that any variant has in this project's kernels."""
    lengths = result["settings"]["lengths"]
    found = [entry["types"][dtype]["kernel"]["error"] for entry in entries(result, kind)]
    largest = [
        max((table[at][0] for table in found if table[at][0] is not None), default=None)
        for at in range(len(lengths))
    ]
    style = replace(style_of(_KERNELS), color=look.soft, dash="dot")
    return _line(_KERNELS, style, lengths, largest)


def _line(name: str, style: Any, lengths: Sequence[int], errors: Sequence[float | None]) -> Line:
    none: list[Interval] = [None] * len(lengths)
    hover = [
        f"{name}<br>{count(length)} tokens: {short(error)}"
        for length, error in zip(lengths, errors, strict=True)
    ]
    drawn = [error or None for error in errors]  # a log axis has no place for 0
    return Line(name, style, lengths, drawn, none, hover)


def _length_panel(key: str, domain: tuple[Any, Any], heading: str, lines: Sequence[Line]) -> Panel:
    lengths = sorted({int(length) for line in lines for length in line.x})
    low, high = padded([math.log10(value) for line in lines for value in line.values()])
    ticks = [step * 10.0**power for power in range(-9, 2) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= math.log10(tick) <= high]
    y_axis = {
        "type": "log",
        "range": [low, high],
        "tickvals": shown,
        "ticktext": [short(tick) for tick in shown],
        "title": {"text": "relative error of the output"},
    }
    return Panel(key, *domain, heading, length_axis(lengths), y_axis)


def _measured(result: Result, kind: str) -> str:
    return f"{KIND_TITLES[kind]}, {result['device']}"
