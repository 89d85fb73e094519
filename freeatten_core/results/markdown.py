"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .format import Entry, Result, count, with_half_width

__all__ = [
    "date_and_commit",
    "heading",
    "headings",
    "machine",
    "pairs",
    "plain",
    "table",
    "with_intervals",
]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right, the first column to the left."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(result: Result) -> str:
    versions = result["versions"]
    return (
        f"{result['device']}, {result['dtype']}, torch {versions['torch']}, Python "
        f"{versions['python']}, {date_and_commit(result)}: `{result['command']}`"
    )


def date_and_commit(result: Result) -> str:
    """When a result was made, and from which commit where that is known; of rows that were put to
    it later, when they were."""
    later = [
        f"`{row['variant']}`: {_made(row['measured'])}"
        for row in result.get("variants", ())
        if "measured" in row
    ]
    return _made(result) + (f" ({'; '.join(later)})" if later else "")


def _made(facts: Entry) -> str:
    commit = facts.get("commit")
    return f"{facts['date']}, commit {commit[:10]}" if commit else str(facts["date"])


def plain(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "/").replace("\n", " ")


def headings(result: Result) -> list[str]:
    return [heading(result, length) for length in result["lengths"]]


def heading(result: Result, length: int) -> str:
    """`2× (1,024)`; of models of others, whose training length nobody knows, `1,024`."""
    trained = result.get("train_length")
    if trained is None or length % trained:
        return count(length)
    return f"{length // trained}× ({count(length)})"


def with_intervals(row: Entry, key: str, form: Any) -> list[str]:
    return pairs(row[key], row["ci95" if key == "loss" else f"{key}_ci95"], form)


def pairs(values: Sequence[Any], bounds: Sequence[Any], form: Any, digits: int = 3) -> list[str]:
    texts = [form(value) for value in values]
    return [
        text if text == "0" else with_half_width(text, interval, digits)
        for text, interval in zip(texts, bounds, strict=True)
    ]
