"""Rows that one short recipe trained (`tests/measure/rows.py`): who uses 16 times its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cube import provenance
from .format import Result, number, signed
from .markdown import table

__all__ = ["row_blocks", "row_table"]


def row_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of a joined result, by their names in the pages."""
    tables = {f"{name} {part}": row_table(result, part) for part in result["text"]}
    return tables | {f"{name} provenance": provenance(result)}


def row_table(result: Result, part: str) -> str:
    """A line a variant, the least loss at 16× first: means over its runs, of Δ, S and W the least
    and the largest; a line for each that failed.

    Args:
        part: the text, `code` or `books`.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in result["runs"]:
        found.setdefault(run["variant"], []).append(run[part])
    header = ["", "runs", "loss 1×", "16×", "Δ 16×", "S", "W"]
    ranked = sorted(found.items(), key=lambda each: _mean([row["loss"][-1] for row in each[1]]))
    lines = [
        [
            f"`{variant}`",
            str(len(rows)),
            number(_mean([row["loss"][0] for row in rows])),
            number(_mean([row["loss"][-1] for row in rows])),
            _spread([row["delta"][-1] for row in rows]),
            _spread([row["sliding_delta"] for row in rows]),
            _spread([row["window_delta"] for row in rows]),
        ]
        for variant, rows in ranked
    ]
    failed = [
        [f"`{each['variant']}`", each["reason"], *["–"] * 5] for each in result.get("failed", [])
    ]
    return table(header, [*lines, *failed])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float | None]) -> str:
    """The least and the largest, – where a row has none."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = dict.fromkeys([signed(min(known)), signed(max(known))])
    return " to ".join(ends)
