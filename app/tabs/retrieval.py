"""The tab Retrieval: stored results of `freeatten retrieve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..server.answers import Answer
from .drawings import LAYOUTS, drawings, legend, sentence

__all__ = ["functions", "retrieval"]

MAKE = (
    "freeatten retrieve --task copy --len 16x --json",
    "freeatten retrieve --task recall --len 16x --json",
)
GRIDS: Mapping[str, Mapping[str, Any]] = {
    "wide": {"width": 620, "columns": 3},
    "phone": {"width": 340, "columns": 2},
}
HEADER = ["measure", "variant", "tokens", "distance_up_to", "value", "low", "high", "n"]
SAID = (
    "low and high: the 95 % interval; n: sequences, of accuracies the queries; an empty distance "
    "is all of them"
)
"""Of the CSV file."""
MEASURED = ("gain", "loss", "control")
"""What a result of copying has of every row."""


def functions() -> list[Callable[..., Answer]]:
    """What the page can call."""
    return [retrieval]


def retrieval() -> Answer:
    """The stored results as figures and tables, and the commands that make new ones."""
    from freeatten_core.basics.assets import assets
    from freeatten_core.results.stored import stored_retrievals

    stored = stored_retrievals(assets() / "results")
    return {"make": list(MAKE), "results": [_shown(result) for result in stored.values()]}


def _shown(result: Mapping[str, Any]) -> Answer:
    from freeatten_core.figures.retrieval import (
        DISTANCE_READING,
        grid_drawing,
        retrieval_drawing,
        retrieval_title,
    )
    from freeatten_core.results.retrieval import retrieval_provenance, retrieval_reading

    is_copy = result["task"] == "copy"
    grid = None if is_copy else drawings(partial(grid_drawing, result), GRIDS)
    lines = legend(result["variants"])
    return {
        "name": result["task"],
        "command": result["command"],
        "grid": grid and {"figures": grid, "about": f"{DISTANCE_READING}."},
        "header": HEADER,
        "said": SAID,
        "values": _values(result),
        "title": retrieval_title(result),
        "reading": sentence(retrieval_reading(result)),
        "provenance": retrieval_provenance(result).replace("`", ""),
        "figures": drawings(partial(retrieval_drawing, result), LAYOUTS),
        "lines": lines,
        "tables": _tables(result, [line["label"] for line in lines]),
    }


def _tables(result: Mapping[str, Any], labels: Sequence[str]) -> list[Answer]:
    from freeatten_core.results.format import count, percent_range, signed, with_half_width
    from freeatten_core.results.retrieval import longest_at

    def table(caption: str, lengths: Sequence[int], cells: Sequence[Sequence[str]]) -> Answer:
        rows = [[label, *texts] for label, texts in zip(labels, cells, strict=True)]
        return {"caption": caption, "header": [count(each) for each in lengths], "rows": rows}

    rows, lengths = result["variants"], result["lengths"]
    if result["task"] == "copy":
        cells = [
            [with_half_width(signed(gain), pair) for gain, pair in _pairs(row, "gain")]
            for row in rows
        ]
        return [table("Gain in nats per token, by tokens in all", lengths, cells)]
    by_length = [[percent_range(*each) for each in _pairs(row, "accuracy")] for row in rows]
    at = longest_at(result)
    by_distance = [
        [percent_range(part["accuracy"], part["ci95"]) for part in row["by_distance"][at]]
        for row in rows
    ]
    far = f"At {count(max(lengths))} tokens: % right, by tokens back to the pair, at most"
    return [
        table("% of queries answered right (95 % interval), by tokens in all", lengths, by_length),
        table(far, result["distances"], by_distance),
    ]


def _values(result: Mapping[str, Any]) -> list[list[Any]]:
    """One value a line: measure, variant, tokens, distance up to, value, low, high, n."""
    from freeatten_core.results.format import row_names

    lines: list[list[Any]] = []
    for row, name in zip(result["variants"], row_names(result["variants"]), strict=True):
        if result["task"] == "copy":
            lines += [
                [measure, name, length, None, value, *pair, result["samples"]]
                for measure in MEASURED
                for length, (value, pair) in zip(
                    result["lengths"], _pairs(row, measure), strict=True
                )
            ]
            continue
        for length, (share, pair), parts in zip(
            result["lengths"], _pairs(row, "accuracy"), row["by_distance"], strict=True
        ):
            asked = sum(part["queries"] for part in parts)
            lines.append(["accuracy", name, length, None, share, *pair, asked])
            lines += [
                ["accuracy", name, length, edge, part["accuracy"], *part["ci95"], part["queries"]]
                for edge, part in zip(result["distances"], parts, strict=True)
                if part["queries"]
            ]
    return lines


def _pairs(row: Mapping[str, Any], key: str) -> zip[tuple[Any, Any]]:
    """Values with their intervals."""
    return zip(row[key], row[f"{key}_ci95"], strict=True)
