"""How results are worded, the same in tables, figures, cards and pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .variants import Variant
from .verdicts import HARMLESS

Result = Mapping[str, Any]
"""What `freeatten compare --json` prints."""
Row = Mapping[str, Any]
"""One entry of a result's `variants`."""
Interval = Sequence[float | None] | None

MISSING = "–"
VERDICTS = {
    "uses": "uses the longer context",
    "harmless": "harmless",
    "no better": "no better than a window",
    "worse": "worse than a window",
    "not controlled": "better than a restart; S and W, the controls, were not measured",
    "unclear": "unclear",
}


def row_names(rows: Sequence[Row]) -> list[str]:
    """Canonical names; rows that share a variant are told apart by their checkpoints."""
    counts = Counter(row["variant"] for row in rows)
    return [
        row["variant"] if counts[row["variant"]] == 1 else f"{row['variant']} [{row['checkpoint']}]"
        for row in rows
    ]


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


def verdict_text(row: Row) -> str:
    """The verdict in plain words."""
    if row["verdict"] == "hurts":
        start = row.get("hurts_from")
        return "hurts" if start is None else f"hurts from {count(start)} tokens"
    if row["verdict"] == "unclear" and finite(row["delta"][-1]) and not has_interval(row):
        return "no verdict from one text; two are needed"
    text = VERDICTS.get(row["verdict"], MISSING)
    window = row.get("window_delta_ci95")
    above = window is not None and None not in window and window[0] > 0 and window[1] > HARMLESS
    hidden = above and row["verdict"] in ("harmless", "unclear")
    return f"{text}, yet worse than a window" if hidden else text


def has_interval(row: Row) -> bool:
    """Whether Δ at the longest length has an interval; from one text it has none."""
    return half_width(row["delta_ci95"][-1]) is not None


def control_text(row: Row, name: str) -> str:
    """S (`sliding`) or W (`window`) with half of its interval; a dash where it was not measured."""
    value = row.get(f"{name}_delta")
    return with_half_width(signed(value), row.get(f"{name}_delta_ci95") if value else None)


def retrieval_reading(result: Result) -> str:
    """What the numbers of `freeatten retrieve` say."""
    if result["task"] == "copy":
        return (
            f"gain: how much lower the loss on a block of {count(result['block'])} tokens is "
            "because its first copy stands at the start of the sequence; 0 means that it is not "
            "used"
        )
    return (
        f"{count(result['recall']['pairs'])} pairs and as many queries at every length; a guess "
        f"is right in {percent(result['chance'])} %"
    )


def retrieval_samples(result: Result) -> str:
    """How many sequences of what."""
    if result["task"] == "recall":
        return f"{plural(result['samples'], 'sequence')} at every length"
    text = result["text"]
    return (
        f"{plural(result['samples'], 'sample')} of {source_name(text['source'])}, each block from "
        f"another file; the same at every length ({plural(text['files'], 'file')} in all)"
    )


UNDONE_TITLES: Mapping[str, str] = {
    "intact": "as it is",
    "window": "far keys hidden",
    "rotation": "known rotation",
    "scale": "other scale",
    "rotation+scale": "both",
}
"""What `freeatten ablate` undoes, in a word or two."""
HEADS_SHOWN = 3


def ablation_reading(result: Result) -> str:
    """What the numbers of `freeatten ablate` say."""
    trained = count(result["train_length"])
    biased = [
        row["variant"]
        for row in result["variants"]
        if Variant.parse(row["variant"]).attention.score == "dot-log-n"
    ]
    grows = f"; −log N in the score of {' and '.join(biased)} goes on falling" if biased else ""
    return (
        "Δ: loss of the last half minus that of the same tokens by the model that forgets what "
        f"is older than {trained} tokens. Far keys hidden: every head sees its last {trained} "
        "tokens. Known rotation: what is farther away is turned as the farthest keys in training "
        f"were. Other scale: the factor log N stops growing at {trained} keys; scores without it "
        f"get it there{grows}"
    )


def ablation_texts(result: Result) -> str:
    """Which texts."""
    return (
        f"{plural(result['texts'], 'text')} of {source_name(result['text']['source'])}, the last "
        f"{count(result['length'] // 2)} of {count(result['length'])} tokens of each scored"
    )


def strongest_heads(row: Row, shown: int = HEADS_SHOWN) -> list[Row]:
    """The heads from which hiding far keys lowers the loss most."""
    return sorted(row["heads"], key=lambda head: float(head["change"]))[:shown]


def head_name(head: Row) -> str:
    """`3.1`: layer and head."""
    return f"{head['layer']}.{head['head']}"


MEASURE_TITLES: Mapping[str, str] = {
    "entropy": "entropy (nats)",
    "relative_entropy": "H / log N",
    "effective_tokens": "1 / Σw² (tokens)",
    "largest": "largest weight",
    "first": "share on the first token",
    "mean_distance": "mean distance (tokens)",
    "zeros": "exact zeros",
    "received": "share on the key read most",
    "far": "share on far tokens",
}
"""What `freeatten entropy --by length` gives at every length, in words."""


def measure_digits(name: str) -> int:
    """Digits behind the point that a measure is worth."""
    return {"entropy": 2, "effective_tokens": 1, "mean_distance": 0}.get(name, 3)


def partial_text(result: Result) -> str:
    """That a result is a part of what was asked for; empty where it is the whole."""
    if not result.get("partial"):
        return ""
    finished, asked = len(result["variants"]), result["rows_asked"]
    return f"stopped: {finished} of {plural(asked, 'row')}, the rest was not finished"


def troubles(result: Result) -> list[str]:
    """Rows that have no numbers, and why; and where the first number is that is not finite."""
    lines = []
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


def repeats_text(text: Mapping[str, Any]) -> str:
    """`; 3 of them repeat another's text and are left out`, where any do."""
    repeats = text.get("repeats")
    if not repeats:
        return ""
    verb = "repeats another's text and is" if repeats == 1 else "repeat another's text and are"
    return f"; {count(repeats)} of them {verb} left out"
