"""How results are worded, the same in tables, figures, cards and pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "CONTROLS",
    "MISSING",
    "UNMEASURED",
    "Entry",
    "Interval",
    "Result",
    "compared_key",
    "control_text",
    "count",
    "declares",
    "ends_text",
    "finished_text",
    "finite",
    "forms_text",
    "half_width",
    "marked_length",
    "mean",
    "missing_control",
    "number",
    "partial_text",
    "percent",
    "percent_range",
    "plural",
    "repeats_line",
    "repeats_text",
    "restart_length",
    "restarts_text",
    "row_names",
    "scaled",
    "signed",
    "source_name",
    "troubles",
    "with_half_width",
    "with_range",
]

Result = Mapping[str, Any]
"""What `freeatten compare --json` prints."""
Entry = Mapping[str, Any]
"""One entry of a result's `variants`."""
Interval = Sequence[float | None] | None

MISSING = "–"
CONTROLS = {"S": "sliding", "W": "window"}
"""What use of the context has to beat, by the letter that stands for it: the loss less that of the
same model sliding, and less that of its checkpoint with a window in every layer. A row has them as
`sliding_delta` and `window_delta`, with `_ci95` and `_by_text`."""


def row_names(rows: Sequence[Entry]) -> list[str]:
    """Canonical names; rows that share a variant are told apart by their checkpoints."""
    counts = Counter(row["variant"] for row in rows)
    return [
        row["variant"] if counts[row["variant"]] == 1 else f"{row['variant']} [{row['checkpoint']}]"
        for row in rows
    ]


def restart_length(facts: Mapping[str, Any]) -> int:
    """L of Δ, S and W of a result or a row: what a model of this project was trained on, and what
    was asked for one of others."""
    found = facts["restart_length"] if "restart_length" in facts else facts["train_length"]
    return int(found)


def restarts_text(result: Result) -> str:
    """L of Δ of a result's rows: `512`, or `512 or 2,048` where they differ."""
    found = {restart_length(row) for row in result["variants"]} or {restart_length(result)}
    return " or ".join(map(count, sorted(found)))


def marked_length(facts: Mapping[str, Any]) -> int | None:
    """What charts mark of a result or a row: the length it was trained on, or of a model of others
    the one that it declares, if it does."""
    found = facts["declared_length"] if "declared_length" in facts else facts["train_length"]
    return None if found is None else int(found)


def declares(facts: Mapping[str, Any]) -> bool:
    """Whether a result or a row is of a model of others, of which training lengths are unknown."""
    return "declared_length" in facts


def compared_key(result: Result) -> str:
    """By what rows can be compared: nats per token, or bits per byte where tokens differ."""
    several = result.get("tokenizers", 1) > 1
    bits = any(each is not None for row in result["variants"] for each in row["bits_per_byte"])
    return "bits_per_byte" if several and bits else "loss"


def forms_text(result: Result) -> str:
    """How the weights of rows were stored that are no longer as they were; empty for none."""
    forms: dict[str, list[str]] = {}
    for row in result["variants"]:
        if row.get("form"):
            forms.setdefault(row["form"], []).append(row["checkpoint"])
    return "; ".join(f"{form}: {', '.join(dict.fromkeys(names))}" for form, names in forms.items())


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """`3.413`; a dash for a number that is missing."""
    return MISSING if value is None or not finite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """`+0.182`, `−0.030` and a plain `0` for exactly zero."""
    if value is None or not finite(value):
        return MISSING
    return "0" if value == 0 else f"{value:+.{digits}f}".replace("-", "−")


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def ends_text(values: Sequence[float | None], digits: int = 3) -> str:
    """`−0.030 to +0.182`: the least and the largest, one where they read the same."""
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    return " to ".join(dict.fromkeys(signed(end, digits) for end in (min(known), max(known))))


def percent(value: float | None) -> str:
    """A share as `98.4`, without its sign: headings have it."""
    return number(None if value is None else 100 * value, 1)


def percent_range(value: float | None, interval: Interval) -> str:
    """`97.3 (91–99)`: a share and its interval, which is not symmetric."""
    return with_range(percent(value), scaled(interval, 100))


def with_range(text: str, interval: Interval) -> str:
    """A number as text and the bounds of its interval, with the digits that its width asks for."""
    low, high = interval or (None, None)
    if text == MISSING or low is None or high is None:
        return text
    digits = 0 if high - low >= 5 else 1 if high - low >= 0.5 else 2
    return f"{text} ({number(low, digits)}–{number(high, digits)})"


def count(value: int) -> str:
    """`8,192`."""
    return f"{value:,}"


def half_width(interval: Interval) -> float | None:
    """Half of an interval: what follows ±."""
    if interval is None or interval[0] is None or interval[1] is None:
        return None
    half = (interval[1] - interval[0]) / 2
    return half if math.isfinite(half) else None


def scaled(interval: Interval, factor: float) -> Interval:
    """An interval in other units."""
    return interval and [None if bound is None else factor * bound for bound in interval]


def with_half_width(text: str, interval: Interval, digits: int = 3) -> str:
    half = half_width(interval)
    return text if half is None or text == MISSING else f"{text} ±{half:.{digits}f}"


_SOURCES = {
    "stdlib": "Python's standard library",
    "prose": "the English of pydoc_data.topics",
    "-": "standard input",
}


def source_name(source: str) -> str:
    return _SOURCES.get(source, source)


def plural(amount: int, noun: str) -> str:
    return f"{count(amount)} {noun}" + ("" if amount == 1 else "s")


UNMEASURED = "unmeasured"


def control_text(row: Entry, name: str) -> str:
    """S (`sliding`) or W (`window`) with half of its interval; where there is none, why."""
    value = row.get(f"{name}_delta")
    if value is None:
        return missing_control(row)
    return with_half_width(signed(value), row.get(f"{name}_delta_ci95") if value else None)


def missing_control(row: Entry) -> str:
    """In the place of S or W: a dash where a row has none, as W without a window of its own or
    either at the training length, and a word where it was not measured."""
    scored = row["loss"][-1] is not None if "loss" in row else True
    asked = scored and row.get("sliding_delta") is None and row["delta"][-1] != 0
    return UNMEASURED if asked else MISSING


def partial_text(result: Result) -> str:
    """That a result is a part of what was asked for; empty where it is the whole."""
    if not result.get("partial"):
        return ""
    return f"stopped: {finished_text(result)}, the rest was not finished"


def finished_text(result: Result) -> str:
    """`1 of 3 rows, 1 failed`, of a result that is a part."""
    rows = result["variants"] if "variants" in result else result["rows"]
    failed = sum(isinstance(row.get("error"), str) for row in rows)  # of a GPU's row it is a number
    whole = f"{len(rows) - failed} of {plural(result['rows_asked'], 'row')}"
    return f"{whole}, {failed} failed" if failed else whole


def troubles(result: Result) -> list[str]:
    """Rows that are missing or have no numbers, and why; and where the first number is that is not
    finite."""
    lines = [*filter(None, [partial_text(result)])]
    for row, name in zip(result["variants"], row_names(result["variants"]), strict=True):
        if row.get("error"):
            lines.append(f"{name}: failed: {row['error']}")
        found = row.get("first_not_finite")
        if found:
            losses = "1 loss" if found["losses"] == 1 else f"{count(found['losses'])} losses"
            lines.append(
                f"{name}: not finite: {losses}, "
                f"the first at {count(found['length'])} tokens: target {count(found['position'])} "
                f"of the text from {found['text']}"
            )
    return lines


def repeats_line(text: Mapping[str, Any]) -> list[str]:
    """A line on files left out because their text is another's, where any are."""
    if not text.get("repeats"):
        return []
    return [f"{plural(text['files'], 'file')} in all{repeats_text(text)}"]


def repeats_text(text: Mapping[str, Any]) -> str:
    """`; 3 of them repeat another's text and are left out`, where any do."""
    repeats = text.get("repeats")
    if not repeats:
        return ""
    verb = "repeats another's text and is" if repeats == 1 else "repeat another's text and are"
    return f"; {count(repeats)} of them {verb} left out"
