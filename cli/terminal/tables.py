"""What `freeatten compare` prints: tables, verdicts and where the numbers come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from freeatten_core.results.comparison import no_language_text, verdict_text
from freeatten_core.results.format import (
    CONTROLS,
    Entry,
    Interval,
    Result,
    control_text,
    count,
    declares,
    finite,
    forms_text,
    marked_length,
    number,
    plural,
    repeats_text,
    restart_length,
    restarts_text,
    row_names,
    signed,
    source_name,
    troubles,
    with_half_width,
)
from freeatten_core.results.knee import KNEE_RULE, knee_text
from freeatten_core.results.verdicts import HARMLESS

__all__ = [
    "HELPS",
    "HURTS",
    "Cell",
    "command",
    "comparison_view",
    "declared_lines",
    "declared_table",
    "delta_table",
    "grid_of",
    "has_delta",
    "knee_table",
    "loss_table",
    "number_lines",
    "provisional_line",
    "reading_line",
    "run_line",
    "spaced",
    "swap_table",
    "table_cell",
    "text_line",
    "verdict_table",
]

NAME_COLUMNS = 28
HELPS, HURTS = "cyan", "red"
VERDICT_COLUMNS = 26
"""What a verdict has at least; with less room the intervals beside it go."""
HELPS_SIGN, HURTS_SIGN = "▼", "▲"


# A table that fits


@dataclass(frozen=True)
class Cell:
    text: str
    half: str = ""
    """What follows the number: ± half of its interval."""
    sign: str = ""
    style: str = ""


@dataclass(frozen=True)
class _Layout:
    """How much a table shows; the first layout that fits the width is taken."""

    extras: bool = True
    intervals: bool = True
    gap: int = 2
    multiples: bool = False
    dropped: int = 0
    """Lengths left out, from the second on."""

    def cell(self, cell: Cell) -> str:
        return cell.sign + cell.text + (cell.half if self.intervals else "")

    def heading(self, length: int, train_length: int) -> str:
        if self.multiples and length % train_length == 0:
            return f"{length // train_length}×"
        return count(length)


def _layouts(lengths: int) -> Iterator[_Layout]:
    yield _Layout()
    yield _Layout(extras=False)
    yield _Layout(extras=False, gap=1)
    plain = _Layout(extras=False, intervals=False)
    yield plain
    for dropped in range(max(lengths - 1, 1)):
        for gap in (2, 1):
            yield replace(plain, gap=gap, multiples=True, dropped=dropped)


@dataclass(frozen=True)
class _Grid:
    title: str
    names: Sequence[str]
    lengths: Sequence[int]
    train_length: int
    cells: Sequence[Sequence[Cell]]
    extras: Mapping[str, Sequence[str]]
    """Heading → one text per row; shown when there is room."""

    def columns(self, layout: _Layout) -> list[tuple[str, list[tuple[str, str]]]]:
        """Headings and, below each, (text, style)."""
        kept = [0, *range(1 + layout.dropped, len(self.lengths))]
        columns = [
            (
                layout.heading(self.lengths[index], self.train_length),
                [(layout.cell(row[index]), row[index].style) for row in self.cells],
            )
            for index in kept
        ]
        if layout.extras:
            columns += [
                (head, [(text, "") for text in texts]) for head, texts in self.extras.items()
            ]
        return columns

    def width(self, layout: _Layout) -> int:
        columns = self.columns(layout)
        widths = [max(len(head), *(len(text) for text, _ in cells)) for head, cells in columns]
        return max(map(len, self.names)) + sum(widths) + layout.gap * len(widths)

    def fitted(self, width: int) -> _Layout:
        layouts = list(_layouts(len(self.lengths)))
        return next((each for each in layouts if self.width(each) <= width), layouts[-1])

    def renderable(self, width: int) -> RenderableType:
        layout = self.fitted(width)
        table = Table(box=None, padding=(0, layout.gap, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("", overflow="ellipsis", no_wrap=True)
        columns = self.columns(layout)
        for head, _ in columns:
            table.add_column(head, justify="right", no_wrap=True)
        for index, name in enumerate(self.names):
            cells = [Text(*column[index]) for _, column in columns]
            table.add_row(Text(name), *cells)
        notes = [Text(line, style="dim") for line in self._left_out(layout)]
        return Group(Text(self.title, style="bold"), table, *notes)

    def _left_out(self, layout: _Layout) -> Iterator[str]:
        if layout.multiples:
            yield f"1× is {count(self.train_length)} tokens"
        parts = []
        if not layout.intervals and any(cell.half for row in self.cells for cell in row):
            parts.append("the ± intervals")
        if layout.dropped:
            left = self.lengths[1 : 1 + layout.dropped]
            parts.append(", ".join(layout.heading(each, self.train_length) for each in left))
        if parts:
            yield f"left out for want of width: {' and '.join(parts)}; --json and --csv have all"


# The tables


def loss_table(result: Result, width: int) -> RenderableType:
    """Mean loss by variant and length; the lowest of each length bold."""
    rows = result["variants"]
    best = [
        _lowest([row["loss"][index] for row in rows]) for index in range(len(result["lengths"]))
    ]
    cells = [
        [
            table_cell(number, value, interval, style="bold" if value == least else "")
            for value, interval, least in zip(row["loss"], row["ci95"], best, strict=True)
        ]
        for row in rows
    ]
    extras = {
        "bits/byte": [number((row.get("bits_per_byte") or [None])[-1]) for row in rows],
        "ratio": [number(row.get("ratio"), 2) for row in rows],
    }
    if len(result["lengths"]) == 1:
        del extras["ratio"]
    grid = grid_of(result, "Mean loss, nats per token, by context length", cells, extras)
    return grid.renderable(width)


def delta_table(result: Result, width: int) -> RenderableType:
    """Δ against the restart; marked where the interval excludes 0 and is not inside ±0.02."""
    title = "Δ, loss minus that of the same model that forgets"
    return _delta_grid(result, "delta", title).renderable(width)


def knee_table(result: Result) -> RenderableType:
    """Where the loss against position stops falling, a line a variant."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right")
    for name, row in zip(_names(result), result["variants"], strict=True):
        table.add_row(Text(name), Text(knee_text(result, row)))
    title = Text("Knee of the loss by position, tokens", style="bold")
    return Group(title, table, Text(KNEE_RULE, style="dim"))


def swap_table(result: Result, width: int) -> RenderableType:
    """Loss with everything older replaced by another text, minus the loss with it."""
    title = "Swap, loss change when everything older is another text"
    return _delta_grid(result, "swap_delta", title).renderable(width)


def _delta_grid(result: Result, key: str, title: str) -> _Grid:
    rows, lengths = result["variants"], result["lengths"]
    nothing = [None] * len(lengths)
    cells = []
    for row in rows:
        values, intervals = row.get(key) or nothing, row.get(f"{key}_ci95") or nothing
        pairs = zip(lengths, values, intervals, strict=True)
        cells.append([_delta_cell(row, *pair) for pair in pairs])
    return grid_of(result, title, cells, {})


def _delta_cell(row: Entry, length: int, value: float | None, interval: Interval) -> Cell:
    if length <= restart_length(row) or value is None:
        return Cell(signed(value))
    low, high = interval or (None, None)
    if low is None or high is None or (low >= -HARMLESS and high <= HARMLESS):
        return table_cell(signed, value, interval)
    if low > 0:
        return table_cell(signed, value, interval, style=HURTS, sign=HURTS_SIGN)
    if high < 0:
        return table_cell(signed, value, interval, style=HELPS, sign=HELPS_SIGN)
    return table_cell(signed, value, interval)


def table_cell(
    form: Callable[[float | None], str],
    value: float | None,
    interval: Interval,
    *,
    style: str = "",
    sign: str = "",
    digits: int = 3,
) -> Cell:
    text = form(value)
    return Cell(text, with_half_width(text, interval, digits).removeprefix(text), sign, style)


def _names(result: Result) -> list[str]:
    """Canonical names, stages without their keys; a long checkpoint's middle is left out."""
    stages = r"^stages:score=([\w-]+):positivity=(\w+):normalise=([\w-]+)"
    names = [re.sub(stages, r"\1 \2 \3", name) for name in row_names(result["variants"])]
    half = NAME_COLUMNS // 2
    return [
        name if len(name) <= NAME_COLUMNS else f"{name[:half]}…{name[1 - half :]}" for name in names
    ]


def _lowest(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None and finite(value)), default=None)


def grid_of(
    result: Result,
    title: str,
    cells: Sequence[Sequence[Cell]],
    extras: Mapping[str, Sequence[str]],
) -> _Grid:
    restart = restart_length(result)
    return _Grid(title, _names(result), result["lengths"], restart, cells, extras)


# The sentences


def verdict_table(result: Result, width: int) -> RenderableType:
    """One line a variant: its verdict, Δ, S and W at the longest length."""
    title = f"At {count(max(result['lengths']))} tokens"
    return _verdicts(title, _names(result), result["variants"], width)


def declared_table(result: Result, width: int) -> RenderableType:
    """The same at the length that each row declares, of those that were read beyond it."""
    names, rows = [], []
    for name, row in zip(_names(result), result["variants"], strict=True):
        if found := row.get("at_declared"):
            names.append(f"{name} at {count(found['length'])}")
            rows.append(found)
    return _verdicts("At the declared length, in tokens", names, rows, width)


def _verdicts(
    heading: str, names: Sequence[str], rows: Sequence[Entry], width: int
) -> RenderableType:
    styles = {"uses": HELPS, "hurts": HURTS, "worse": HURTS}
    verdicts = [Text(verdict_text(row), styles.get(row["verdict"], "")) for row in rows]
    numbers = [_verdict_numbers(row) for row in rows]
    room = width - max(map(len, names)) - VERDICT_COLUMNS
    if _joined_width(numbers) > room:
        numbers = [[text.split(" ")[0] for text in line] for line in numbers]
    title = Text(heading, style="bold")
    if _joined_width(numbers) > room + VERDICT_COLUMNS // 2:
        lines = [
            Text.assemble(f"{name}: ", verdict, "; ", (_signed_numbers(line), "dim"))
            for name, verdict, line in zip(names, verdicts, numbers, strict=True)
        ]
        return Group(title, *lines)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(no_wrap=True)
    table.add_column()
    for sign in ("Δ", *CONTROLS):
        table.add_column(sign, justify="right", no_wrap=True)
    for name, verdict, line in zip(names, verdicts, numbers, strict=True):
        table.add_row(Text(name), verdict, *(Text(text, "dim") for text in line))
    return Group(title, table)


def _joined_width(cells: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, column)) for column in zip(*cells, strict=True))


def _signed_numbers(line: Sequence[str]) -> str:
    return ", ".join(f"{sign} {text}" for sign, text in zip(("Δ", *CONTROLS), line, strict=True))


def _verdict_numbers(row: Entry) -> list[str]:
    delta = with_half_width(signed(row["delta"][-1]), row["delta_ci95"][-1])
    return [delta, *(control_text(row, name) for name in CONTROLS.values())]


def text_line(result: Result) -> str:
    """Which text, how much of it qualified, and whether stored results used the same."""
    text, longest = result["text"], max(result["lengths"])
    line = (
        f"{plural(result['texts'], 'text')} from {_files(text, longest)}, "
        f"{count(text['tokens'])} tokens scored at every length"
    )
    same = text.get("matches_stored")
    if same is None:
        return line
    return f"{line}; these are {'' if same else 'not '}the files of the stored results"


def _files(text: Mapping[str, Any], longest: int) -> str:
    """The files that texts are from; their numbers, where they were kept."""
    if text["qualifying"] is None:
        return source_name(text["source"])
    return (
        f"{plural(text['qualifying'], 'file')} of {source_name(text['source'])} that "
        f"{'is' if text['qualifying'] == 1 else 'are'} at least {count(longest + 1)} tokens long "
        f"({plural(text['files'], 'file')} in all{repeats_text(text)})"
    )


def number_lines(result: Result) -> list[str]:
    """Non-finite values and row sums, where they were counted."""
    named = list(zip(_names(result), result["variants"], strict=True))
    lines = []
    counts = {name: row["nonfinite"] for name, row in named if row.get("nonfinite")}
    bad = [
        f"{name} {count(each['logits'])} logits and {count(each['losses'])} losses"
        for name, each in counts.items()
        if each["logits"] or each["losses"]
    ]
    if counts:
        lines.append(f"not finite in {result['dtype']}: {'; '.join(bad) or 'nothing'}")
    sums = [
        f"{name} {row['row_sum_deviation']:.1e}"
        for name, row in named
        if row.get("row_sum_deviation") is not None
    ]
    if sums:
        lines.append(f"largest deviation of a row sum from 1: {'; '.join(sums)}")
    return lines


def reading_line(result: Result) -> str:
    """What to look for."""
    if not has_delta(result):
        return "lower is better"
    return (
        "lower is better; Δ compares with the same model forgetting everything older than "
        f"{restarts_text(result)} tokens: below 0 ({HELPS_SIGN}) the longer context "
        f"helps, above 0 ({HURTS_SIGN}) it hurts; S compares with the same model sliding, W with "
        "a window in every layer: what uses its context beats both"
    )


def declared_lines(result: Result) -> list[str]:
    """What models of others declare, and whether losses of rows can be compared."""
    lines = []
    names = zip(_names(result), result["variants"], strict=True)
    declared = [
        f"{name} {'nothing' if marked_length(row) is None else count(marked_length(row) or 0)}"
        for name, row in names
        if declares(row)
    ]
    if declared:
        lines.append(
            f"declared length in tokens, which is not what was trained on: {'; '.join(declared)}"
        )
    if forms := forms_text(result):
        lines.append(f"weights are those of {forms}")
    if result.get("tokenizers", 1) > 1:
        lines.append(
            "the tokenizers differ, so nats per token cannot be compared between rows; bits/byte "
            "can, over the bytes that every row scored at its longest length"
        )
    return lines


def has_delta(result: Result) -> bool:
    """Whether any length goes beyond the restart, for a model of this project what it was trained
    on."""
    longest = max(result["lengths"])
    return any(longest > restart_length(row) for row in result["variants"])


def comparison_view(
    result: Result,
    width: int,
    *,
    chart: RenderableType | None = None,
    by_position: bool = False,
) -> RenderableType:
    """All that `freeatten compare` prints, for a console of `width` columns."""
    parts: list[RenderableType] = [loss_table(result, width)]
    if has_delta(result):
        parts.append(delta_table(result, width))
    if any(row.get("swap_delta") for row in result["variants"]):
        parts.append(swap_table(result, width))
    if chart is not None:
        parts.append(chart)
    if by_position:
        parts.append(knee_table(result))
    if has_delta(result):
        parts.append(verdict_table(result, width))
    if any(row.get("at_declared") for row in result["variants"]):
        parts.append(declared_table(result, width))
    wrong = [no_language_text(result), *troubles(result)]
    bad = [Text(line, HURTS) for line in wrong if line]
    lines = [reading_line(result), *declared_lines(result), *number_lines(result)]
    parts.append(Group(*map(Text, lines), *bad))
    parts.append(Group(Text(text_line(result)), Text(run_line(result)), command(result)))
    return Group(*spaced(parts))


def run_line(result: Result) -> str:
    seconds = result.get("seconds")
    parts = [result["device"], result["dtype"], f"seed {result['seed']}"]
    return ", ".join(parts if seconds is None else [*parts, f"{number(seconds, 0)} s"])


def command(result: Result) -> Text:
    return Text.assemble(("again: ", "dim"), result["command"], overflow="fold")


def spaced(parts: Sequence[RenderableType]) -> Iterator[RenderableType]:
    for index, part in enumerate(parts):
        if index:
            yield Text("")
        yield part


def provisional_line(entry: Mapping[str, Any], lengths: Sequence[int], texts: int, of: int) -> str:
    """A row before all its texts are scored: losses by length, and how many texts they rest on."""
    losses = "  ".join(
        f"{count(length)}: {number(value)}"
        for length, value in zip(lengths, entry["loss"], strict=True)
    )
    state = "" if texts == of else f"  (provisional: {texts} of {of} texts)"
    return f"{entry['variant']}  {losses}{state}"
