"""Charts in the terminal: the one place that knows plotext 6."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from freeatten_core.figures.styles import Style, row_styles
from freeatten_core.results.format import (
    MISSING,
    compared_key,
    count,
    declares,
    finite,
    marked_length,
    row_names,
)

__all__ = ["distinct", "fixed", "line_chart", "loss_chart", "position_chart", "retrieval_chart"]

Points = tuple[Sequence[float], Sequence[float | None]]
Color = tuple[int, int, int]
HEIGHT, LEAST_WIDTH = 18, 30
MOST_DIGITS = 10
HIDDEN = "*"
GREY: Color = (140, 140, 140)


def line_chart(
    lines: Mapping[str, Points],
    title: str,
    width: int,
    *,
    lengths: Sequence[int] = (),
    mark: int | None = None,
    color: bool | None = None,
    height: int = HEIGHT,
) -> str:
    """Draw lines as text: title, chart, and a legend with the last value of each line.

    Args:
        lines: name (a variant's, for its usual colour and sign) → x and y; y may lack numbers.
        title: the first line of the text.
        width: columns of the text.
        lengths: makes x a log2 axis with ticks at these.
        mark: where to draw a vertical line.
        color: whether to use colours; by default, unless NO_COLOR is set.
        height: rows of the chart alone.
    """
    try:
        import plotext
    except ImportError as error:  # its compiled part exists for common machines only
        return "\n".join([*textwrap.wrap(title, width), f"no chart: {error}".split("\n")[0]])
    color = not os.environ.get("NO_COLOR") if color is None else color
    width = max(width, LEAST_WIDTH)
    drawn = {name: _points(points, bool(lengths)) for name, points in lines.items()}
    styles = _styles(lines)
    if not any(drawn.values()):
        return "\n".join([*textwrap.wrap(title, width), "no finite value to draw"])
    # plotext draws on one figure for the whole process, and by default no larger than the
    # terminal, which a pipe does not have.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    if mark is not None:
        _draw_mark(plotext, _x(mark, bool(lengths)), drawn)
    for name, points in reversed(drawn.items()):  # where lines meet, the first stays visible
        _draw(plotext, points, styles[name], dots=bool(lengths))
    _frame(figure, drawn, lengths)
    body = figure.build().string(not color)
    figure.clear()
    rows = [row.rstrip() for row in body.rstrip("\n").split("\n")]
    hidden = {
        name
        for name, points in drawn.items()
        if lengths and points and styles[name].sign not in body
    }
    legend = _legend(lines, styles, hidden, width, color)
    return "\n".join([*textwrap.wrap(title, width), *rows, *legend])


def loss_chart(result: Mapping[str, Any], width: int, *, color: bool | None = None) -> str:
    """The chart that `freeatten compare` prints: mean loss against context length."""
    lengths, rows = result["lengths"], result["variants"]
    names, key = row_names(rows), compared_key(result)
    of = "Mean loss" if key == "loss" else "Bits per byte"
    return line_chart(
        {name: (lengths, row[key]) for name, row in zip(names, rows, strict=True)},
        f"{of} by context length{_mark_text(result)}",
        width,
        lengths=lengths,
        mark=_mark(result) if len(lengths) > 1 else None,
        color=color,
    )


def position_chart(result: Mapping[str, Any], width: int, *, color: bool | None = None) -> str:
    """The chart that `freeatten compare --by position` adds: loss in one pass, by position."""
    positions, rows = result["positions"], result["variants"]
    nothing = [None] * len(positions)
    values = [row.get("loss_by_position") or nothing for row in rows]
    return line_chart(
        {name: (positions, ys) for name, ys in zip(row_names(rows), values, strict=True)},
        f"Mean loss by position in {count(max(result['lengths']))} tokens"
        f"{_mark_text(result).removesuffix(' tokens')}",
        width,
        mark=_mark(result),
        color=color,
    )


def _mark(result: Mapping[str, Any]) -> int | None:
    """Where the line stands; a length that is declared can lie beyond the chart."""
    mark = marked_length(result)
    beyond = declares(result) and mark is not None and mark > max(result["lengths"])
    return None if beyond else mark


def _mark_text(result: Mapping[str, Any]) -> str:
    mark = _mark(result)
    if mark is None:
        return ""
    word = "declared:" if declares(result) else "trained up to"
    return f"; ┊ {word} {count(mark)} tokens"


def retrieval_chart(result: Mapping[str, Any], width: int, *, color: bool | None = None) -> str:
    """The chart that `freeatten retrieve` prints: gain, or % right, against the length."""
    lengths, rows, mark = result["lengths"], result["variants"], _mark(result)
    copy = result["task"] == "copy"
    values = [
        row["gain"] if copy else [None if v is None else 100 * v for v in row["accuracy"]]
        for row in rows
    ]
    title = "Gain from copying (nats per token) by tokens in all" if copy else "% right by length"
    return line_chart(
        {name: (lengths, ys) for name, ys in zip(row_names(rows), values, strict=True)},
        f"{title}{_mark_text(result)}",
        width,
        lengths=lengths,
        mark=mark if mark is not None and min(lengths) <= mark <= max(lengths) else None,
        color=color,
    )


def _points(points: Points, log: bool) -> list[tuple[float, float]]:
    pairs = zip(*points, strict=True)
    return [(_x(x, log), y) for x, y in pairs if y is not None and finite(y)]


def _x(value: float, log: bool) -> float:
    return math.log2(value) if log else value


def _styles(names: Collection[str]) -> dict[str, Style]:
    """By name as `row_names` makes it: a variant, and its checkpoint where two share one."""
    rows = [{"variant": name.split(" [", maxsplit=1)[0]} for name in names]
    return dict(zip(names, row_styles(rows), strict=True))


def _rgb(style: Style) -> Color:
    red, green, blue = bytes.fromhex(style.color.removeprefix("#"))
    return red, green, blue


def _draw(plotext: Any, points: list[tuple[float, float]], style: Style, *, dots: bool) -> None:
    if not points:
        return
    xs, ys = map(list, zip(*points, strict=True))
    line = plotext.figure.signal(
        xs, ys, marker=plotext.marker("braille", plotext.pixel(_rgb(style)))
    )
    if len(points) > 1:
        line.lines()
    plotext.figure.draw(line)
    if dots:
        sign = plotext.marker(style.sign, plotext.pixel(_rgb(style)))
        plotext.figure.draw(plotext.figure.signal(xs, ys, marker=sign))


def _draw_mark(plotext: Any, x: float, drawn: Mapping[str, list[tuple[float, float]]]) -> None:
    values = [y for points in drawn.values() for _, y in points]
    marker = plotext.marker("┊", plotext.pixel(GREY))
    segment = plotext.figure.segment((x, x), (min(values), max(values)), marker=marker)
    plotext.figure.draw(segment)


def _frame(
    figure: Any, drawn: Mapping[str, list[tuple[float, float]]], lengths: Sequence[int]
) -> None:
    values = [y for points in drawn.values() for _, y in points]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    ticks = [low + (high - low) * step / 4 for step in range(5)]
    figure.ruler("y", "left").lim(low, high)
    figure.ruler("y", "left").ticks(ticks, distinct(ticks))
    if lengths:
        xs = [math.log2(length) for length in lengths]
        room = 0.5 if len(xs) == 1 else 0.0
        figure.ruler("x", "lower").lim(min(xs) - room, max(xs) + room)
        figure.ruler("x", "lower").ticks(xs, [count(length) for length in lengths])
    else:
        ends = [x for points in drawn.values() for x, _ in points]
        low, high = min(ends), max(ends)
        steps = [low + (high - low) * step / 4 for step in range(5)]
        labelled = {count(round(tick)): tick for tick in steps}
        figure.ruler("x", "lower").ticks(list(labelled.values()), list(labelled))


def distinct(values: Sequence[float]) -> list[str]:
    """Different numbers as different labels, with as few digits as tell them apart, 2 or more."""
    for digits in range(2, MOST_DIGITS):
        labels = [fixed(value, digits) for value in values]
        if len(set(labels)) == len(set(values)):
            return labels
    return [f"{value:.{MOST_DIGITS}g}" for value in values]


def fixed(value: float, digits: int) -> str:
    """`4.54`, and `0.00` whatever sign was rounded away."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _legend(
    lines: Mapping[str, Points],
    styles: Mapping[str, Style],
    hidden: Collection[str],
    width: int,
    color: bool,
) -> list[str]:
    """`● softmax 4.92` for each line, as many in a row as fit, in columns."""
    entries = [
        f"{styles[name].sign} {name} {_last(ys)}{HIDDEN * (name in hidden)}"
        for name, (_, ys) in lines.items()
    ]
    size = min(max(map(len, entries)) + 3, width)
    columns = max(1, (width + 3) // size)
    cells = []
    for entry, name in zip(entries, lines, strict=True):
        text = entry if len(entry) <= width else entry[: width - 1] + "…"
        padding = " " * (size - len(text))
        cells.append((_colored(text, styles[name]) if color else text) + padding)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    note = [f"{HIDDEN} lies behind another line"] if hidden else []
    return ["".join(row).rstrip() for row in rows] + note


def _last(values: Sequence[float | None]) -> str:
    """The value at the end of a line; a dash when there is none or it is not finite."""
    last = values[-1] if values else None
    return fixed(last, 2) if last is not None and finite(last) else MISSING


def _colored(text: str, style: Style) -> str:
    red, green, blue = _rgb(style)
    return f"\x1b[38;2;{red};{green};{blue}m{text}\x1b[0m"
