"""The figures that `freeatten entropy`, `stages` and `ablate` save, each from its `--json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freeatten_core.results.ablation import UNDONE_TITLES
from freeatten_core.results.format import (
    Interval,
    Result,
    count,
    declares,
    forms_text,
    half_width,
    marked_length,
    plural,
    row_names,
    signed,
    source_name,
)
from freeatten_core.results.heads import curve_of

from .canvas import (
    SLIM_LEFT,
    SLIM_RIGHT,
    STACK_GAP,
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
    trained_mark,
    trained_note,
)
from .heads import change_cells, head_cells, head_panel
from .lines import Line, line_labels, space_for, text_width
from .styles import markup, row_labels, row_styles, style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["ablate_figure", "stages_figure", "survey_figure"]

_WIDTH = 1280


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:#.3g}" if 1e-3 <= abs(value) < 100 else f"{value:,.3g}"


def _texts(result: Result) -> str:
    texts = f"{plural(result['texts'], 'text')} of {markup(source_name(result['text']['source']))}"
    forms = markup(forms_text(result))
    return f"{texts} · weights of {forms}" if forms else texts


def _area(width: int, height: float, rows: int) -> Space:
    """A plotting area of a height that panels of different heights share."""
    return Space(width, round((height - (rows - 1) * STACK_GAP) / rows))


# A statistic


def survey_figure(result: Result, *, theme: Theme = "light") -> go.Figure:
    """The statistic by position, and against length where that was measured.

    Args:
        result: what `freeatten entropy --json` prints.
        theme: of the page behind the figure; its own background is clear.
    """
    look, name = look_of(theme), result["statistic"]
    by_length = "lengths" in result and all(name in r["by_length"] for r in result["variants"])
    drawn = [_survey_lines(result, result["positions"])]
    if by_length:
        drawn.append(_survey_lines(result, result["lengths"], name))
    space = space_for(_WIDTH if by_length else 900, *drawn, columns=len(drawn))
    domains = panel_domains(len(drawn), space, stacked=False)
    last = max(result["positions"])
    axes = [{"range": [0, last * 1.02], "tickformat": ",", "title": {"text": "position (tokens)"}}]
    headings = [f"<b>{result['label']}</b> of the rows by position"]
    if by_length:
        axes.append(length_axis(result["lengths"]) | {"title": {"text": "ℓ (tokens)"}})
        headings.append(f"<b>{result['label']}</b> of the rows ℓ/2 to ℓ")
    panels = [
        space.fit(_survey_panel(key, domain, heading, axis, lines, result))
        for key, domain, heading, axis, lines in zip(
            ("", "2"), domains, headings, axes, drawn, strict=False
        )
    ]
    marked = marked_length(result)
    trained = [marked] if marked is not None and marked < last else []
    return panel_figure(
        panels,
        [
            line.trace(panel, markers=bool(panel.key))
            for panel, lines in zip(panels, drawn, strict=True)
            for line in lines
        ],
        [mark for panel in panels for mark in trained_mark(panel, trained, look)],
        [
            note
            for panel, lines in zip(panels, drawn, strict=True)
            for note in line_labels(panel, lines, _three_digits)
        ]
        + [
            trained_note(panel, length, look, declared=declares(result))
            for panel in panels
            for length in trained
        ],
        title=f"{result['label'][0].upper()}{result['label'][1:]} at {count(result['length'])} "
        "tokens",
        subtitle=f"{result['meaning']} · {curve_of(result)} · {_texts(result)}",
        look=look,
        space=space,
        stacked=False,
    )


def _survey_lines(result: Result, xs: Sequence[float], measure: str | None = None) -> list[Line]:
    """By position, or a measure against length with its intervals."""
    rows = result["variants"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        values = row["by_position"] if measure is None else row["by_length"][measure]
        none: list[Interval] = [None] * len(xs)
        intervals = none if measure is None else row["by_length"][f"{measure}_ci95"]
        hover = [
            f"{label}<br>{count(round(x))}: {'–' if y is None else _three_digits(y)}"
            for x, y in zip(xs, values, strict=True)
        ]
        lines.append(Line(label, style, xs, values, intervals, hover))
    return lines


def _survey_panel(
    key: str,
    domain: tuple[Any, Any],
    heading: str,
    axis: Element,
    lines: Sequence[Line],
    result: Result,
) -> Panel:
    values = [0.0, *(value for line in lines for value in line.values())]
    unit = f" ({result['unit']})" if result["unit"] else ""
    y_axis = {"range": padded(values, high=0.1), "title": {"text": result["label"] + unit}}
    return Panel(key, *domain, heading, axis, y_axis)


# The stages of a row

_STAGES = {
    "score": "<b>score</b> s",
    "positivity": "<b>positivity</b> f",
    "normalise": "<b>normalise</b> N·a",
    "weight": "<b>weight</b> w",
}
_STAGE_HEIGHT, _STAGE_GAP, _STRONGEST = 150, 62, 12


def stages_figure(result: Result, *, theme: Theme = "light", width: int = 1000) -> go.Figure:
    """Every stage of one row by key, and the keys with the largest weights.

    Args:
        result: what `freeatten stages --json` prints.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look, style, keys = look_of(theme), style_of(result["variant"]), result["key"]
    whole = len(_STAGES) * _STAGE_HEIGHT + (len(_STAGES) - 1) * _STAGE_GAP
    panels, traces = [], []
    for index, (stage, heading) in enumerate(_STAGES.items()):
        scale = result["visible"] if stage == "normalise" else 1
        values = [scale * value for value in result[stage]]
        top = 1 - index * (_STAGE_HEIGHT + _STAGE_GAP) / whole
        low = max(0.0, top - _STAGE_HEIGHT / whole)
        is_last = index == len(_STAGES) - 1
        panel = _stage_panel(str(index + 1) if index else "", (low, top), heading, keys, values)
        panel.x_axis["title"] = {"text": "key position" if is_last else ""}
        panels.append(panel)
        traces += _needles(panel, keys, values, style.color)
    strongest = sorted(range(len(keys)), key=lambda at: -result["weight"][at])[:_STRONGEST]
    position, token = result["position"], markup(repr(result["token"][-1]))
    return panel_figure(
        panels,
        traces,
        [],
        [_strongest_note(result, strongest, look)],
        title=f"{markup(result['variant'])}, layer {result['layer']}, head {result['head']}: "
        "from score to weight",
        subtitle=f"query {token} at {count(position)} of {markup(str(result['text']))} · "
        f"N = {count(result['visible'])} visible keys",
        look=look,
        space=_area(width, whole, len(panels)),
        stacked=False,
    )


def _stage_panel(
    key: str,
    y_domain: tuple[float, float],
    heading: str,
    keys: Sequence[int],
    values: Sequence[float],
) -> Panel:
    room = max(1.0, 0.01 * len(keys))
    axis = {"range": [keys[0] - room, keys[-1] + room], "tickformat": ","}
    y_axis = {
        "range": padded([0.0, *values]),
        "nticks": 5,
        "zeroline": True,
        "zerolinewidth": 1,
        "title": {"text": ""},
    }
    return Panel(key, (0.0, 1.0), y_domain, heading, axis, y_axis)


def _needles(
    panel: Panel, keys: Sequence[int], values: Sequence[float], color: str
) -> list[Element]:
    """From 0 to every value: keys are no line, and one among thousands must be seen."""
    base = {"type": "scatter", "xaxis": f"x{panel.key}", "yaxis": f"y{panel.key}"}
    xs = [x for key in keys for x in (key, key, None)]
    ys = [y for value in values for y in (0.0, value, None)]
    thick = 2.0 if len(keys) <= 256 else 1.0
    stems = {"mode": "lines", "x": xs, "y": ys, "hoverinfo": "skip"}
    tips = {
        "mode": "markers",
        "x": list(keys),
        "y": list(values),
        "marker": {"size": 4 if len(keys) <= 256 else 2.5, "color": color},
        "hovertext": [f"key {count(k)}: {v:.4g}" for k, v in zip(keys, values, strict=True)],
        "hoverinfo": "text",
    }
    return [base | stems | {"line": {"color": color, "width": thick}}, base | tips]


def _strongest_note(result: Result, strongest: Sequence[int], look: Look) -> Element:
    lines = ["<b>largest weights</b>"]
    for at in strongest:
        token = repr(result["token"][at])
        shown = markup(token if len(token) <= 14 else token[:13] + "…")
        lines.append(f"{shown} at {count(result['key'][at])} <b>{result['weight'][at]:.3g}</b>")
    place = {"xref": "paper", "yref": "paper", "x": 1, "y": 1, "xshift": 18}
    return {
        "text": "<br>".join(lines),
        "align": "left",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "top",
        "font": {"size": 12, "color": look.text},
        **place,
    }


# What is undone

_UNDONE_LOOKS: Mapping[str, tuple[str, str]] = {
    "intact": ("#d55e00", "circle"),
    "window": ("#0a7bc4", "square"),
    "rotation": ("#009e73", "diamond"),
    "scale": ("#c0569b", "triangle-up"),
    "rotation+scale": ("#9a7b1c", "x"),
}
_DOT_HEIGHT, _HEADS_HEIGHT, _HEADS_GAP, _HEADS_ACROSS, _COLUMNS = 17, 150, 100, 0.05, 4


def ablate_figure(result: Result, *, theme: Theme = "light", width: int = _WIDTH) -> go.Figure:
    """Δ with each thing undone, and what hiding far keys from single heads changes.

    Args:
        result: what `freeatten ablate --json` prints.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look, rows = look_of(theme), result["variants"]
    with_heads = "heads" in rows[0]
    lines = math.ceil(len(rows) / _COLUMNS) if with_heads else 0
    dots = len(rows) * (len(UNDONE_TITLES) + 1) * _DOT_HEIGHT
    whole = dots + lines * (_HEADS_GAP + _HEADS_HEIGHT)
    panel = _undone_panel(result, (1 - dots / whole, 1.0), width)
    panels, traces = [panel], _undone_traces(result, panel)
    for index, (row, name) in enumerate(zip(rows, row_names(rows), strict=True)):
        if with_heads:
            line, column = divmod(index, _COLUMNS)
            low = (lines - 1 - line) * (_HEADS_GAP + _HEADS_HEIGHT) / whole
            size = (1 - (_COLUMNS - 1) * _HEADS_ACROSS) / _COLUMNS
            left = column * (size + _HEADS_ACROSS)
            domain = (left, min(1.0, left + size)), (low, low + _HEADS_HEIGHT / whole)
            heading = f"<b>{markup(name)}</b>"
            panels.append(head_panel(str(index + 2), domain, row, heading))
            traces.append(head_cells(panels[-1], row, *change_cells(row), look))
    trained, length = count(marked_length(result) or 0), count(result["length"])
    below = (
        f" · below: change of the loss when one head alone sees only its last {trained} tokens, "
        "shaded by its share of Δ"
    )
    figure = panel_figure(
        panels,
        traces,
        _bands(panel, len(rows), look),
        _undone_values(result, panel),
        title=f"What of Δ at {length} tokens goes away, with one thing undone?",
        subtitle=f"Δ: the loss minus that of the same model that forgets what is older than "
        f"{trained} tokens · 95 % intervals over texts · {_texts(result)}, {result['device']}"
        + (below if with_heads else ""),
        look=look,
        space=_area(width, whole, len({each.y_domain for each in panels})),
        stacked=False,
        labels=False,
    )
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"}
    return figure.update_layout(showlegend=True, legend=legend)


def _undone_panel(result: Result, y_domain: tuple[float, float], width: int) -> Panel:
    names = row_names(result["variants"])
    room = (max(map(text_width, names)) + 12) / (width - SLIM_LEFT - SLIM_RIGHT)
    values = [0.0]
    for row in result["variants"]:
        for key in UNDONE_TITLES:
            half, value = half_width(row["delta_ci95"][key]) or 0.0, row["delta"][key]
            values += [] if value is None else [value - half, value + half]
    axis = {
        "range": padded(values, high=0.12),
        "title": {"text": "Δ (nats per token)"},
        "zeroline": True,
        "zerolinewidth": 1.5,
    }
    y_axis = {
        "tickvals": list(range(len(names))),
        "ticktext": [markup(name) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "title": {"text": ""},
    }
    return Panel("", (min(room, 0.5), 1.0), y_domain, "", axis, y_axis)


def _bands(panel: Panel, rows: int, look: Look) -> list[Element]:
    """Behind every other row, so that its points are seen to belong together."""
    place = {"xref": f"x{panel.key} domain", "yref": f"y{panel.key}", "x0": 0, "x1": 1}
    area = {"type": "rect", "line": {"width": 0}, "layer": "below", "fillcolor": look.grid}
    return [
        area | place | {"y0": at - 0.5, "y1": at + 0.5, "opacity": 0.4} for at in range(1, rows, 2)
    ]


def _undone_places(result: Result, key: str) -> list[float]:
    """Where a row's points of what is undone lie, one below the other."""
    step = list(UNDONE_TITLES).index(key) - (len(UNDONE_TITLES) - 1) / 2
    return [at + step / (len(UNDONE_TITLES) + 1) for at in range(len(result["variants"]))]


def _undone_traces(result: Result, panel: Panel) -> list[Element]:
    rows = result["variants"]
    traces = []
    for key, title in UNDONE_TITLES.items():
        color, symbol = _UNDONE_LOOKS[key]
        half = [half_width(row["delta_ci95"][key]) for row in rows]
        trace: Element = {
            "type": "scatter",
            "mode": "markers",
            "name": title,
            "x": [row["delta"][key] for row in rows],
            "y": _undone_places(result, key),
            "xaxis": f"x{panel.key}",
            "yaxis": f"y{panel.key}",
            "marker": {"symbol": symbol, "size": 9, "color": color},
            "hovertext": [
                f"{name}, {title}: {signed(row['delta'][key])}"
                for name, row in zip(row_names(rows), rows, strict=True)
            ],
            "hoverinfo": "text",
        }
        if any(value is not None for value in half):
            trace["error_x"] = {"type": "data", "array": half, "thickness": 1, "width": 3}
        traces.append(trace)
    return traces


def _undone_values(result: Result, panel: Panel) -> list[Element]:
    """Every Δ as a number, to the right of its interval."""
    notes = []
    for key in UNDONE_TITLES:
        for row, place in zip(result["variants"], _undone_places(result, key), strict=True):
            value = row["delta"][key]
            if value is None:  # not finite
                continue
            notes.append(
                {
                    "text": signed(value),
                    "xref": f"x{panel.key}",
                    "yref": f"y{panel.key}",
                    "x": value + (half_width(row["delta_ci95"][key]) or 0.0),
                    "y": place,
                    "xanchor": "left",
                    "xshift": 7,
                    "showarrow": False,
                    "font": {"size": 11, "color": _UNDONE_LOOKS[key][0]},
                }
            )
    return notes
