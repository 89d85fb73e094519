"""The figures of docs/inside.md: what rows and heads do as the text before them grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freeatten_core.results.format import (
    Entry,
    Interval,
    Result,
    count,
    forms_text,
    number,
    plural,
    restart_length,
    signed,
    source_name,
)
from freeatten_core.results.heads import MEASURE_TITLES, head_name, measure_digits

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
    trained_mark,
    trained_note,
)
from .cells import HURTING_SHADE, cells
from .lines import Line, end_labels, space_for
from .styles import markup, row_labels, row_styles, style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "change_cells",
    "distance_figure",
    "entropy_figure",
    "far_figure",
    "head_cells",
    "head_panel",
    "heads_figure",
]

_WIDTH = 1280
_LAYER_HEIGHT = 22
"""Pixels of a line of cells that has text in it, where there are many."""
_LOG_N = "even spread: log N"


# Entropy against length


def entropy_figure(result: Result, *, theme: Theme = "light", width: int = _WIDTH) -> go.Figure:
    """Entropy, and entropy as a share of the largest possible, against length.

    Args:
        result: what `freeatten entropy --by length --json` prints.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels.
    """
    look = look_of(theme)
    even = _even_spread(result, look)
    lines = _measure_lines(result, "entropy"), _measure_lines(result, "relative_entropy")
    space = space_for(width, [even, *lines[0]], lines[1], columns=2)
    domains = panel_domains(2, space, stacked=False)
    plain = space.fit(_measure_panel(result, "", domains[0], "entropy", [even]))
    share = space.fit(_measure_panel(result, "2", domains[1], "relative_entropy", []))
    return panel_figure(
        [plain, share],
        [
            even.trace(plain, markers=False),
            *(line.trace(plain) for line in lines[0]),
            *(line.trace(share) for line in lines[1]),
        ],
        _trained(plain, result, look) + _trained(share, result, look),
        end_labels(plain, [even, *lines[0]], 2, sign=False)
        + end_labels(share, lines[1], 2, sign=False)
        + _trained_notes([plain, share], result, look),
        title="Does entropy stay the same as the text grows?",
        subtitle=f"mean over heads of the rows ℓ/2 to ℓ · {_texts(result)} · 95 % intervals",
        look=look,
        space=space,
        stacked=False,
    )


def _even_spread(result: Result, look: Look) -> Line:
    """log N, the largest entropy there is, in the middle of the rows of every length."""
    lengths = result["lengths"]
    values = [math.log(0.75 * length) for length in lengths]
    style = replace(style_of(_LOG_N), color=look.soft, dash="dot")
    none: list[Interval] = [None] * len(lengths)
    return Line(_LOG_N, style, lengths, values, none, [number(value, 2) for value in values])


def _measure_lines(result: Result, name: str) -> list[Line]:
    rows, digits = result["variants"], measure_digits(name)
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        values, intervals = row["by_length"][name], row["by_length"][f"{name}_ci95"]
        hover = [
            f"{label}<br>{count(length)} tokens: {number(value, digits)}"
            for length, value in zip(result["lengths"], values, strict=True)
        ]
        lines.append(Line(label, style, result["lengths"], values, intervals, hover))
    return lines


def _measure_panel(
    result: Result, key: str, domain: tuple[Any, Any], name: str, more: Sequence[Line]
) -> Panel:
    headings = {
        "entropy": "<b>Entropy</b> of a row",
        "relative_entropy": "<b>H / log N</b>: 1 is an even spread over all N keys",
    }
    lines = [*_measure_lines(result, name), *more]
    values = [0.0, *(value for line in lines for value in line.values())]
    axis = length_axis(result["lengths"])
    axis["title"] = {"text": "ℓ (tokens)"}
    y_axis = {"range": padded(values), "title": {"text": MEASURE_TITLES[name]}}
    return Panel(key, *domain, headings[name], axis, y_axis)


# Weight against distance


def distance_figure(result: Result, *, theme: Theme = "light", width: int = _WIDTH) -> go.Figure:
    """Share of the weight by distance, at the shortest length and at the longest.

    Args:
        result: what `freeatten entropy --by length --json` prints.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look, places = look_of(theme), (0, -1)
    space = space_for(width, *(_distance_lines(result, at) for at in places), columns=2)
    domains = panel_domains(2, space, stacked=False)
    before, last = result["distances"][-2:]
    drawn = []
    for at, (key, domain) in zip(places, zip(("", "2"), domains, strict=True), strict=True):
        lines = _distance_lines(result, at)
        drawn.append((space.fit(_distance_panel(result, key, domain, at)), lines))
    panels = [panel for panel, _ in drawn]
    return panel_figure(
        panels,
        [line.trace(panel) for panel, lines in drawn for line in lines],
        [mark for panel in panels for mark in _trained(panel, result, look)],
        [note for panel, lines in drawn for note in end_labels(panel, lines, 0, sign=False)]
        + _trained_notes(panels, result, look),
        title="How far back does the weight lie?",
        subtitle=f"the point at {count(last + 1)} is the share of what lies {count(before + 1)} to "
        f"{count(last)} tokens back, and so on · mean over heads · {_texts(result)}",
        look=look,
        space=space,
        stacked=False,
    )


def _distance_lines(result: Result, at: int) -> list[Line]:
    rows, length = result["variants"], result["lengths"][at]
    shown = [edge for edge in result["distances"] if edge < length]
    none: list[Interval] = [None] * len(shown)
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        values = [100 * share for share in row["by_distance"][at][: len(shown)]]
        hover = [
            f"{label}<br>up to {count(edge)} back: {number(value, 1)} %"
            for edge, value in zip(shown, values, strict=True)
        ]
        ends = [edge + 1 for edge in shown]
        lines.append(Line(label, style, ends, values, none, hover))
    return lines


def _distance_panel(result: Result, key: str, domain: tuple[Any, Any], at: int) -> Panel:
    length = result["lengths"][at]
    every = [line for which in (0, -1) for line in _distance_lines(result, which)]
    values = [0.0, *(value for line in every for value in line.values())]
    axis = length_axis([edge + 1 for edge in result["distances"]])
    axis["title"] = {"text": "tokens back"}
    heading = f"<b>Rows {count(length // 2)} to {count(length)}</b>"
    y_axis = {"range": padded(values), "title": {"text": "share of the weight (%)"}}
    return Panel(key, *domain, heading, axis, y_axis)


# Heads


def heads_figure(
    seen: Result, ablated: Result, *, theme: Theme = "light", width: int = _WIDTH
) -> go.Figure:
    """Every head: its share on far tokens, and what of Δ hiding them from it takes away.

    Args:
        seen: what `freeatten entropy --by length --json` prints.
        ablated: what `freeatten ablate --json` prints, of the same variants.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look, rows = look_of(theme), ablated["variants"]
    far = {row["variant"]: row for row in seen["variants"]}
    panels, traces = [], []
    for index, (row, label) in enumerate(zip(rows, row_labels(rows), strict=True)):
        drawn = _far_cells(far[row["variant"]]), change_cells(row)
        headings = f"<b>{label}</b><br>weight on far tokens", "loss when they are hidden"
        for line, (heading, found) in enumerate(zip(headings, drawn, strict=True)):
            key = index + line * len(rows)
            domain = _cell_domain(index, len(rows), line)
            panels.append(head_panel(str(key + 1) if key else "", domain, row, heading))
            traces.append(head_cells(panels[-1], row, *found, look))
    length, trained = count(seen["lengths"][-1]), count(seen["train_length"])
    return panel_figure(
        panels,
        traces,
        [],
        [],
        title=f"Which heads read far tokens at {length}, and which lose by it?",
        subtitle=f"far: {trained} or more tokens back · above: share of the weight, "
        f"{_texts(seen)} · below: change of the loss when that head alone sees only its last "
        f"{trained} tokens, shaded by its share of Δ, {_texts(ablated)}",
        look=look,
        space=Space(width),
        stacked=False,
        labels=False,
    )


def far_figure(
    results: Sequence[Result], *, theme: Theme = "light", width: int = _WIDTH
) -> go.Figure:
    """Every head of models of others: its share on far tokens at the longest length.

    Args:
        results: what `freeatten entropy --by length --layers all --json` prints, one a model, all
            of one length and restart.
        theme: of the page behind the figure.
        width: in pixels.
    """
    look, panels, traces = look_of(theme), [], []
    rows = [row for result in results for row in result["variants"]]
    layers = max(1 + head["layer"] for row in rows for head in row["heads"])
    for index, (row, label) in enumerate(zip(rows, row_labels(rows), strict=True)):
        (left, right), _ = _cell_domain(index, len(rows), 0)
        panel = head_panel(str(index + 1) if index else "", ((left, right), (0, 1)), row, label)
        panels.append(panel)
        traces.append(head_cells(panel, row, *_far_cells(row), look))
    length, far = count(results[0]["lengths"][-1]), count(restart_length(results[0]))
    forms = "; ".join(markup(forms_text(result)) for result in results if forms_text(result))
    return panel_figure(
        panels,
        traces,
        [],
        [],
        title=f"Which heads read far tokens at {length}?",
        subtitle=f"share of the weight {far} or more tokens back, rows "
        f"{count(results[0]['lengths'][-1] // 2)} to {length} · "
        f"{' · '.join(dict.fromkeys(_texts(result) for result in results))} · {forms}",
        look=look,
        space=Space(width, _LAYER_HEIGHT * layers),
        stacked=False,
        labels=False,
    )


def _far_cells(row: Entry) -> tuple[list[float], list[str]]:
    """How strong a cell is, 0 to 1, and its text, by head."""
    shares = [head["by_length"]["far"][-1] for head in row["heads"]]
    return shares, [f"{number(100 * share, 0)} %" for share in shares]


def change_cells(row: Entry) -> tuple[list[float], list[str]]:
    changes = [head["change"] for head in row["heads"]]
    whole = abs(row["delta"]["intact"] or 0.0) or 1.0
    shades = [max(0.0, -(change or 0.0)) / whole for change in changes]
    return shades, [signed(each) for each in changes]


def _cell_domain(column: int, columns: int, line: int) -> tuple[Any, Any]:
    across, down = 0.05, 0.14
    width, height = (1 - (columns - 1) * across) / columns, (1 - down) / 2
    left, low = column * (width + across), (1 - line) * (height + down)
    return (left, min(1.0, left + width)), (low, min(1.0, low + height))


def head_panel(key: str, domain: tuple[Any, Any], row: Entry, heading: str) -> Panel:
    layers = 1 + max(head["layer"] for head in row["heads"])
    heads = 1 + max(head["head"] for head in row["heads"])
    axis = {"tickvals": list(range(heads)), "title": {"text": "head"}, "range": [-0.5, heads - 0.5]}
    y_axis = {
        "tickvals": list(range(layers)),
        "title": {"text": "layer"},
        "range": [layers - 0.5, -0.5],
        "showgrid": False,
    }
    return Panel(key, *domain, heading, axis, y_axis)


def head_cells(
    panel: Panel, row: Entry, strength: Sequence[float], texts: Sequence[str], look: Look
) -> Element:
    heads = 1 + max(head["head"] for head in row["heads"])

    def in_layers(flat: Sequence[Any]) -> list[list[Any]]:
        return [list(flat[at : at + heads]) for at in range(0, len(flat), heads)]

    names = [f"layer and head {head_name(head)}: " for head in row["heads"]]
    hover = [name + text for name, text in zip(names, texts, strict=True)]
    return cells(
        panel, in_layers(strength), in_layers(texts), in_layers(hover), HURTING_SHADE, look
    )


# What the figures share


def _trained(panel: Panel, result: Result, look: Look) -> list[Element]:
    return trained_mark(panel, [result["train_length"]], look)


def _trained_notes(panels: Sequence[Panel], result: Result, look: Look) -> list[Element]:
    return [trained_note(panel, result["train_length"], look) for panel in panels]


def _texts(result: Result) -> str:
    return f"{plural(result['texts'], 'text')} of {markup(source_name(result['text']['source']))}"
