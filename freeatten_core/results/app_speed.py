"""How measurements of the browser app are read: goals, tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .format import Entry, Result, count
from .markdown import date_and_commit, table
from .speed import three_digits

__all__ = ["app_speed_blocks", "facts_table", "memory_table", "provenance", "rows_table"]

SHOWN_SAMPLES = 7
SAMPLED: Mapping[str, str] = {
    "rss_mb": "memory of the server, MB",
    "kept_mb": "of that, kept analyses and maps, MB",
    "entries": "kept analyses and maps",
}


def app_speed_blocks(name: str, result: Result) -> dict[str, str]:
    """The text of the generated blocks of a measurement, by name."""
    filled = {f"{name} table": rows_table(result["rows"])}
    if "facts" in result:
        filled[f"{name} facts"] = facts_table(result["facts"])
        filled[f"{name} memory"] = memory_table(result["samples"])
    return filled | {f"{name} provenance": provenance(result)}


def rows_table(rows: Sequence[Entry]) -> str:
    """Times of what was repeated: median, 95th percentile, largest, and what became of the goal."""
    lines = [
        [
            f"{row['what']}, {row['unit']}",
            count(row["count"]),
            *(three_digits(row[name]) for name in ("median", "p95", "largest")),
            _goal(f"{row['goal']['of']} ", row["goal"]["most"], row[row["goal"]["of"]])
            if row["goal"]
            else "",
        ]
        for row in rows
    ]
    return table(["", "times", "median", "p95", "largest", "goal"], lines)


def facts_table(facts: Sequence[Entry]) -> str:
    """Single numbers: what, how much, and what became of the goal."""
    lines = [
        [
            fact["what"],
            count(fact["value"]),
            "" if fact["most"] is None else _goal("", fact["most"], fact["value"]),
        ]
        for fact in facts
    ]
    return table(["", "", "goal"], lines)


def memory_table(samples: Sequence[Entry]) -> str:
    """Memory over time: samples at even distances, the first and the last among them."""
    last = len(samples) - 1
    parts = min(SHOWN_SAMPLES, len(samples)) - 1
    shown = [samples[round(last * at / max(parts, 1))] for at in range(parts + 1)]
    return table(
        ["minutes", *(f"{sample['seconds'] / 60:.1f}" for sample in shown)],
        [[title, *(count(sample[name]) for sample in shown)] for name, title in SAMPLED.items()],
    )


def provenance(result: Result) -> str:
    """One line: machine, versions, command."""
    versions: Mapping[str, Any] = result["versions"]
    return (
        f"{result['processor']}, {result['cores']} cores, {result['memory_gb']} GB (load "
        f"{result['load_before']:.2f} before the start); Chromium {versions['chromium']}, Gradio "
        f"{versions['gradio']}, torch {versions['torch']}, Python {versions['python']}, "
        f"{date_and_commit(result)}, {result['seconds']:.0f} s: `{result['command']}`"
    )


def _goal(of: str, most: float, value: float) -> str:
    return f"{of}≤ {most:g}: {'met' if value <= most else 'missed'}"
