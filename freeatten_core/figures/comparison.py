"""Figures of `freeatten compare`: loss and Δ by length and by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from freeatten_core.results.format import (
    Entry,
    Interval,
    Result,
    compared_key,
    count,
    declares,
    forms_text,
    half_width,
    marked_length,
    number,
    plural,
    restart_length,
    restarts_text,
    signed,
)
from freeatten_core.results.knee import knee_of

from .canvas import (
    SLIM_TICKS,
    TEXT_SIZE,
    WIDTH,
    Drawing,
    Element,
    Look,
    Panel,
    Space,
    Theme,
    half_planes,
    length_axis,
    length_ticks,
    level_mark,
    look_of,
    machine,
    padded,
    panel_domains,
    panel_drawing,
    texts_line,
    trained_mark,
    trained_note,
)
from .ceiling import share_panel, share_part
from .controls import controls_height, controls_part, has_controls
from .lines import Line, Part, end_labels, length_lines, missing_note, near_range, space_for
from .styles import markup, row_labels, row_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "Options",
    "comparison_drawing",
    "comparison_figure",
    "comparison_subtitle",
    "comparison_title",
    "position_drawing",
    "position_figure",
]


class Options(TypedDict, total=False):
    """What `comparison_drawing` takes by name."""

    title: str | None
    theme: Theme
    width: int
    stacked: bool
    labels: bool
    by_position: bool


def comparison_figure(result: Result, **options: Unpack[Options]) -> go.Figure:
    """What `comparison_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(comparison_drawing(result, **options))


def comparison_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = WIDTH,
    stacked: bool = False,
    labels: bool = True,
    by_position: bool = False,
) -> Drawing:
    """Loss against context length, and Δ against the model that forgets, enlarged near 0.

    Args:
        result: what `freeatten compare --json` prints; any number may be missing.
        title: in place of the one made from the result; empty for none.
        theme: of the page behind the figure; its own background is clear.
        width: in pixels; two panels side by side need about 1,100.
        stacked: Δ below the loss, for narrow pages.
        labels: names at the ends of the lines; without, the page must have a legend.
        by_position: the loss at each position too, in a panel below.

    Below are Δ, S and W at the longest length, where those were measured, and the share of the
    ceiling's gain, where the result has one.
    """
    look = look_of(theme)
    rows: Sequence[Entry] = result["variants"]
    delta = any(length > restart_length(row) for row in rows for length in result["lengths"])
    lines, delta_lines = _loss_lines(result), _delta_lines(result) if delta else []
    position_lines = _position_lines(result) if by_position else []
    columns, panels = 1 if stacked or not delta else 2, 1 + delta
    space = space_for(width, lines, delta_lines, position_lines, columns=columns, labels=labels)
    below = _panels_below(result, space, look, delta=delta, labels=labels, places=position_lines)
    space = replace(space, below=tuple(height for height, _ in below))
    domains = panel_domains(panels, space, stacked, labels=labels)
    axis = length_axis(result["lengths"], 8 if labels else SLIM_TICKS)
    words = LOSS_WORDS[compared_key(result)]
    loss_panel = space.fit(_loss_panel(lines, _guesses(result), words, axis, *domains[0]))
    parts = [_loss_part(result, lines, loss_panel, look, labels)]
    if delta:
        panel = space.fit(_delta_panel(result, delta_lines, axis, *domains[1]))
        parts.append(_delta_part(result, delta_lines, panel, look, labels))
    parts += [make(domain) for (_, make), (_, domain) in zip(below, domains[panels:], strict=True)]
    return panel_drawing(
        [panel for part in parts for panel in part.panels],
        [trace for part in parts for trace in part.traces],
        [shape for part in parts for shape in part.shapes],
        [note for part in parts for note in part.notes],
        title=comparison_title(result) if title is None else title,
        subtitle=comparison_subtitle(result),
        look=look,
        space=space,
        stacked=stacked,
        labels=labels,
    )


def _panels_below(
    result: Result,
    space: Space,
    look: Look,
    *,
    delta: bool,
    labels: bool,
    places: Sequence[Line],
) -> list[tuple[int, Callable[[tuple[float, float]], Part]]]:
    """The panels below loss and Δ, as wide as both: the height of each, and what draws it."""
    found: list[tuple[int, Callable[[tuple[float, float]], Part]]] = []
    if delta and has_controls(result):
        height = controls_height(result, space.width, labels=labels)
        bars = _with_intervals(result)
        found.append(
            (
                height,
                lambda domain: controls_part(
                    result, space, "5", domain, look, height=height, bars=bars, labels=labels
                ),
            )
        )
    if places:
        found.append(
            (
                space.height,
                lambda domain: _position_part(
                    result, places, space, look, "3", domain, labels=labels
                ),
            )
        )
    if "ceiling" in result:
        found.append(
            (
                space.height,
                lambda domain: share_part(
                    result, space.fit(share_panel(result, "4", (0.0, 1.0), domain)), look, labels
                ),
            )
        )
    return found


def _loss_part(
    result: Result, lines: Sequence[Line], panel: Panel, look: Look, labels: bool
) -> Part:
    trained = _marks(result)
    guesses = [guess for guess in _guesses(result) if panel.span[0] < guess < panel.span[1]]
    notes = end_labels(panel, lines, 2, sign=False) if labels else []
    notes += missing_note(panel, lines)
    notes += _mark_notes(result, panel, trained, look)
    notes += [_guess_note(panel, guess, look) for guess in guesses]
    shapes = trained_mark(panel, trained, look)
    shapes += [level_mark(panel, guess, look) for guess in guesses]
    return Part([panel], [line.trace(panel) for line in lines], shapes, notes)


def _guesses(result: Result) -> list[float]:
    """The losses of guessing, where the result has them and shows losses."""
    if compared_key(result) != "loss":
        return []
    return sorted({row["uniform_loss"] for row in result["variants"] if "uniform_loss" in row})


def _delta_part(
    result: Result, lines: Sequence[Line], panel: Panel, look: Look, labels: bool
) -> Part:
    notes = end_labels(panel, lines, 3, sign=True) if labels else []
    notes += _region_notes(panel, look) + missing_note(panel, lines)
    shapes = trained_mark(panel, _marks(result), look) + half_planes(panel, look)
    return Part([panel], [line.trace(panel) for line in lines], shapes, notes)


def comparison_title(result: Result) -> str:
    """The question that the result answers."""
    longest, marked = max(result["lengths"]), marked_length(result)
    rows = result["variants"]
    if len({marked_length(row) for row in rows}) > 1:
        return f"Asked to read {count(longest)} tokens: which model breaks?"
    if marked is None:
        return f"Asked to read {count(longest)} tokens"
    start = f"{'Declared for' if declares(result) else 'Trained on'} {count(marked)} tokens"
    if longest <= marked:
        return f"{start}, read at {count(longest)}"
    asked = f"{start}, asked to read {count(longest)}"
    if len(rows) == 1:
        return f"{asked}: does {row_labels(rows)[0].replace('<br>', ' ')} hold?"
    return f"{asked}: which attention breaks?"


def _mark_notes(result: Result, panel: Panel, lengths: Sequence[int], look: Look) -> list[Element]:
    """What each mark says, a line below the one before: marks can be near each other."""
    rows, notes = result["variants"], []
    for at, length in enumerate(lengths):
        of_others = [declares(row) for row in rows if marked_length(row) == length]
        declared = bool(of_others) and all(of_others)
        whose = "this project's models: " if any(map(declares, rows)) and not declared else ""
        note = trained_note(panel, length, look, declared=declared, whose=whose)
        notes.append(note | {"yshift": -_NOTE_LINE * at})
    return notes


def _marks(result: Result) -> list[int]:
    """Lengths that rows were trained on or declare, as far as the axis goes."""
    found = {marked_length(row) for row in result["variants"]} or {marked_length(result)}
    longest = max(result["lengths"])
    return sorted(length for length in found if length is not None and length <= longest)


def comparison_subtitle(result: Result) -> str:
    parts = [texts_line(result)]
    if len(result["lengths"]) > 1:
        parts.append("the same tokens scored at every length")
    if any(half_width(pair) is not None for row in result["variants"] for pair in row["ci95"]):
        few = f"{plural(result['texts'], 'text')}: no intervals"
        parts.append("95 % intervals over texts" if _with_intervals(result) else few)
    if forms := forms_text(result):
        parts.append(markup(forms))
    return " · ".join([*parts, machine(result)])


FEWEST_TEXTS = 3
"""From how many texts on intervals are drawn: those of two reach over everything."""


def _with_intervals(result: Result) -> bool:
    return bool(result["texts"] >= FEWEST_TEXTS)


def _loss_lines(result: Result) -> list[Line]:
    if compared_key(result) == "loss":
        key = "ci95" if _with_intervals(result) else ""
        return length_lines(result, "loss", key, "nats per token", number)
    return length_lines(result, "bits_per_byte", "", "bits per byte", number)


def _delta_lines(result: Result) -> list[Line]:
    key = "delta_ci95" if _with_intervals(result) else ""
    return length_lines(result, "delta", key, "nats against the restart", signed)


LOSS_WORDS = {
    "loss": ("Loss", "mean loss (nats per token)"),
    "bits_per_byte": ("Bits per byte", "mean loss (bits per byte), as tokens differ"),
}
"""Heading and axis, by what is drawn."""
_NEAR_GUESS = 1.0
"""Nats below the loss of guessing from where on its line is drawn."""


def _guess_note(panel: Panel, guess: float, look: Look) -> Element:
    return panel.note(
        "guessing: log of the vocabulary",
        0.98,
        guess,
        yref=f"y{panel.key}",
        xanchor="right",
        yanchor="bottom",
        font={"size": TEXT_SIZE, "color": look.soft},
    )


def _loss_panel(
    lines: Sequence[Line],
    guesses: Sequence[float],
    words: tuple[str, str],
    axis: Element,
    x_domain: Any,
    y_domain: Any,
) -> Panel:
    values = [value for line in lines for value in line.values(reach=0.5)]
    # a loss that comes near guessing, or lies above it, is seen against it
    values += [guess for guess in guesses if values and max(values) > guess - _NEAR_GUESS]
    return Panel(
        "",
        x_domain,
        y_domain,
        f"<b>{words[0]}</b> against context length: lower is better",
        axis,
        {"range": padded(values, high=0.1), "title": {"text": words[1]}},
    )


_NOTE_LINE = 16
"""Pixels from one note of a mark to the next."""


def _delta_panel(
    result: Result, lines: Sequence[Line], axis: Element, x_domain: Any, y_domain: Any
) -> Panel:
    low, high = near_range(lines)
    of_each = "" if compared_key(result) == "loss" else " of each model's own"
    heading = (
        "<b>Δ</b> against the same model that forgets, enlarged near 0<br>"
        f"0: same as forgetting everything older than {restarts_text(result)} tokens"
    )
    if any(end is not None and not low <= end[1] <= high for end in (line.end for line in lines)):
        heading += "; ↑ off the scale"
    if not has_controls(result):
        heading += "<br>S and W, the controls, are unmeasured: below 0 is not yet use"
    return Panel(
        "2",
        x_domain,
        y_domain,
        heading,
        axis,
        {
            "range": [low, high],
            "title": {"text": f"Δ (nats per token{of_each})"},
            "tickformat": "+.2f" if high < 1 else "+.1f",
            "zeroline": True,
            "zerolinewidth": 1.5,
        },
    )


def _region_notes(panel: Panel, look: Look) -> list[Element]:
    strong = {"font": {"size": TEXT_SIZE}, "bgcolor": look.veil, "borderpad": 1}
    return [
        panel.note("longer context <b>hurts</b>", 0.25, 0.98, yanchor="top", **strong),
        panel.note("longer context <b>helps</b>", 0.06, 0.02, yanchor="bottom", **strong),
    ]


# Loss against position


def position_figure(
    result: Result, *, title: str | None = None, theme: Theme = "light", width: int = 900
) -> go.Figure:
    """What `position_drawing` gives, as Plotly's own figure."""
    import plotly.graph_objects as go

    return go.Figure(position_drawing(result, title=title, theme=theme, width=width))


def position_drawing(
    result: Result,
    *,
    title: str | None = None,
    theme: Theme = "light",
    width: int = 900,
    labels: bool = True,
) -> Drawing:
    """Loss against position in one pass at the longest length.

    Raises:
        ValueError: the result was made without `--by position`.
    """
    look, longest = look_of(theme), count(max(result["lengths"]))
    lines = _position_lines(result)
    space = space_for(width, lines, labels=labels)
    part = _position_part(result, lines, space, look, "", (0.0, 1.0), labels=labels)
    return panel_drawing(
        *part,
        title=f"Where in {longest} tokens does the loss go up?" if title is None else title,
        subtitle=f"{texts_line(result)} · different text at different positions · "
        f"{machine(result)}",
        look=look,
        space=space,
        stacked=False,
        labels=labels,
    )


def _position_lines(result: Result) -> list[Line]:
    if not result.get("positions"):
        raise ValueError("this result has no loss by position; make it with --by position")
    rows, positions = result["variants"], result["positions"]
    lines = []
    for row, label, style in zip(rows, row_labels(rows), row_styles(rows), strict=True):
        values = row.get("loss_by_position") or [None] * len(positions)
        hover = [
            f"{label}<br>up to position {count(position)}: {number(value)} nats per token"
            for position, value in zip(positions, values, strict=True)
        ]
        none: list[Interval] = [None] * len(positions)
        lines.append(Line(label, style, positions, values, none, hover))
    return lines


def _position_part(
    result: Result,
    lines: Sequence[Line],
    space: Space,
    look: Look,
    key: str,
    y_domain: tuple[float, float],
    *,
    labels: bool = True,
) -> Part:
    """Panel, traces, shapes and notes of the loss against position."""
    panel = space.fit(_position_panel(result, lines, key, y_domain))
    trained = _marks(result)
    notes = end_labels(panel, lines, 2, sign=False) if labels else []
    notes += missing_note(panel, lines)
    notes += _mark_notes(result, panel, trained, look)
    traces = [
        _with_knee(line.trace(panel), knee_of(result, row)["knee"])
        for line, row in zip(lines, result["variants"], strict=True)
    ]
    return Part([panel], traces, trained_mark(panel, trained, look), notes)


def _with_knee(trace: Element, knee: int | None) -> Element:
    """The same with its sign at the knee alone."""
    sizes = [10 if place == knee else 0 for place in trace["x"]]
    return trace | {"marker": trace["marker"] | {"size": sizes}}


def _position_panel(
    result: Result, lines: Sequence[Line], key: str, y_domain: tuple[float, float]
) -> Panel:
    positions = result["positions"]
    first, last = math.log2(positions[0]), math.log2(positions[-1])
    ticks = [2**power for power in range(math.ceil(first), math.floor(last) + 1)]
    axis = length_axis(positions) | length_ticks(ticks)
    axis["title"] = {"text": "position (tokens)"}
    values = [value for line in lines for value in line.values()]
    return Panel(
        key,
        (0.0, 1.0),
        y_domain,
        "<b>Loss</b> against position in one long pass: lower is better; a sign where it stops "
        "falling",
        axis,
        {"range": padded(values, high=0.1), "title": {"text": "mean loss (nats per token)"}},
    )
