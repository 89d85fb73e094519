"""What `freeatten retrieve` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from freeatten_core.results.effective import effective_text
from freeatten_core.results.format import (
    Entry,
    Interval,
    Result,
    count,
    number,
    percent,
    percent_range,
    repeats_line,
    signed,
    troubles,
)
from freeatten_core.results.retrieval import (
    EFFECTIVE,
    longest_at,
    retrieval_reading,
    retrieval_samples,
)
from freeatten_core.results.tasks import task_title

from .tables import HELPS, HURTS, Cell, command, grid_of, run_line, spaced, table_cell

__all__ = [
    "accuracy_table",
    "control_table",
    "distance_table",
    "gain_table",
    "retrieval_line",
    "retrieval_view",
]


def gain_table(result: Result, width: int) -> RenderableType:
    """What the first copy of a block is worth for the second, by variant and total length."""
    cells = [
        [
            table_cell(signed, value, pair, style=HELPS if _above_zero(pair) else "")
            for value, pair in zip(row["gain"], row["gain_ci95"], strict=True)
        ]
        for row in result["variants"]
    ]
    title = "Gain from copying, nats per token, by tokens in all"
    return grid_of(result, title, cells, _effective(result)).renderable(width)


def _effective(result: Result) -> dict[str, list[str]]:
    return {EFFECTIVE: [effective_text(result, row) for row in result["variants"]]}


def control_table(result: Result, width: int) -> RenderableType:
    """The loss without the first copy, which a perfect copier would gain."""
    cells = [
        [
            table_cell(number, *pair)
            for pair in zip(row["control"], row["control_ci95"], strict=True)
        ]
        for row in result["variants"]
    ]
    title = "Loss on the block without its first copy: the most there is to gain"
    return grid_of(result, title, cells, {}).renderable(width)


def accuracy_table(result: Result, width: int) -> RenderableType:
    """Share of queries answered right, by variant and length."""
    cells = [
        [_range_cell(*pair) for pair in zip(row["accuracy"], row["accuracy_ci95"], strict=True)]
        for row in result["variants"]
    ]
    title = f"{task_title(result['task']).capitalize()}, % of queries answered right, by length"
    return grid_of(result, title, cells, _effective(result)).renderable(width)


def distance_table(result: Result, width: int) -> RenderableType:
    """The same at the longest length, by how far back the answer stands."""
    at = longest_at(result)
    cells = [
        [_range_cell(part["accuracy"], part["ci95"]) for part in row["by_distance"][at]]
        for row in result["variants"]
    ]
    longest = count(max(result["lengths"]))
    title = f"The same at {longest} tokens, by the distance to the answer, up to"
    by_distance = {**result, "lengths": result["distances"]}
    return grid_of(by_distance, title, cells, {}).renderable(width)


def _range_cell(value: float | None, interval: Interval) -> Cell:
    text = percent(value)
    return Cell(text, percent_range(value, interval).removeprefix(text))


def retrieval_line(key: str, lengths: Sequence[int]) -> Callable[[Entry, int, int], str]:
    """What writes a row of `freeatten retrieve` before all its samples are measured."""
    form = signed if key == "gain" else percent

    def line(entry: Entry, samples: int, of: int) -> str:
        values = "  ".join(
            f"{count(length)}: {form(value)}"
            for length, value in zip(lengths, entry[key], strict=True)
        )
        state = "" if samples == of else f"  (provisional: {samples} of {of} samples)"
        return f"{entry['variant']}  {values}{state}"

    return line


def retrieval_view(result: Result, width: int, *, chart: RenderableType) -> RenderableType:
    """All that `freeatten retrieve` prints, for a console of `width` columns."""
    makers = [gain_table, control_table] if result["task"] == "copy" else [accuracy_table]
    if result["task"] != "copy" and max(result["lengths"]) > result["train_length"]:
        makers.append(distance_table)
    parts: list[RenderableType] = [maker(result, width) for maker in makers]
    words = Group(
        *(Text(line, HURTS) for line in troubles(result)),
        Text(retrieval_reading(result)),
        Text(retrieval_samples(result)),
        *map(Text, repeats_line(result.get("text", {}))),
        Text(run_line(result)),
        command(result),
    )
    return Group(*spaced([*parts[:1], chart, *parts[1:], words]))


def _above_zero(interval: Interval) -> bool:
    return interval is not None and interval[0] is not None and interval[0] > 0
