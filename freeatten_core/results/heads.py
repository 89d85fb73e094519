"""What `freeatten entropy --by length` found, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .format import (
    Entry,
    Result,
    count,
    forms_text,
    number,
    plural,
    restart_length,
    row_names,
    source_name,
)
from .markdown import heading, headings, machine, pairs, table

__all__ = [
    "HEADS_SHOWN",
    "MEASURE_TITLES",
    "curve_of",
    "far_table",
    "head_name",
    "measure_digits",
    "measure_table",
    "sink_table",
    "slim_heads",
    "survey_provenance",
]

LOCAL_PARTS = 16
"""A head is local when its mean distance is below this part of the training length."""


HEADS_SHOWN = 3
OF_A_HEAD = ("layer", "head", "sink")
OF_A_HEAD_BY_LENGTH = ("mean_distance", "far", "received")
"""What tables and figures take of single heads, of which a row has many."""

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


def measure_table(result: Result, name: str) -> str:
    """One measure of `freeatten entropy --by length`, mean over heads, variant × length."""
    digits = measure_digits(name)
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        found = row["by_length"]
        cells = pairs(
            found[name], found[f"{name}_ci95"], lambda value: number(value, digits), digits
        )
        rows.append([f"`{label}`", *cells])
    return table([MEASURE_TITLES[name], *headings(result)], rows)


def sink_table(result: Result) -> str:
    """Sinks in the first 64 tokens, and the key that a head reads most at the ends."""
    ends = [heading(result, length) for length in (result["lengths"][0], result["lengths"][-1])]
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        heads = row["heads"]
        sink = max(heads, key=lambda head: float(head["sink"]))
        most = [max(heads, key=lambda head: _at(head, "received", end)) for end in (0, -1)]
        rows.append(
            [
                f"`{label}`",
                f"{row['sink_rate'] * len(heads):.3g} of {len(heads)}",
                f"{head_name(sink)}: {number(sink['sink'])}",
                *(
                    f"{head_name(head)}: {number(_at(head, 'received', end))}"
                    for head, end in zip(most, (0, -1), strict=True)
                ),
            ]
        )
    titles = [f"most on one key, {end}" for end in ends]
    return table(["sinks", "heads with a sink, T = 64", "strongest of them", *titles], rows)


def far_table(result: Result) -> str:
    """Which heads read far tokens at the longest length, and what local heads do there."""
    near, last = restart_length(result) // LOCAL_PARTS, result["lengths"][-1]
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        heads = row["heads"]
        local = [head for head in heads if _at(head, "mean_distance", 0) < near]
        shares = [_at(head, "far", -1) for head in local]
        farthest = sorted(heads, key=lambda head: -_at(head, "far", -1))[:HEADS_SHOWN]
        rows.append(
            [
                f"`{label}`",
                str(sum(_at(head, "far", -1) > 0.5 for head in heads)),
                str(sum(_at(head, "far", -1) < 0.1 for head in heads)),
                f"{len(local)}: {number(sum(shares) / len(shares) if shares else None)}",
                ", ".join(f"{head_name(head)} {number(_at(head, 'far', -1))}" for head in farthest),
            ]
        )
    titles = ["heads above 0.5", "below 0.1", f"local at {heading(result, result['lengths'][0])}"]
    return table([f"share on far tokens at {count(last)}", *titles, "farthest heads"], rows)


def _at(head: Entry, name: str, end: int) -> float:
    return float(head["by_length"][name][end])


def survey_provenance(result: Result) -> str:
    """One line: texts, machine, versions, command."""
    text, forms = result["text"], forms_text(result)
    weights = f"weights of {forms}; " if forms else ""
    return (
        f"{plural(result['texts'], 'text')} of {source_name(text['source'])} "
        f"({', '.join(text['names'])}); {weights}{machine(result)}"
    )


def slim_heads(entry: Entry) -> dict[str, Any]:
    """An entry of a survey without what is read of no single head, nine tenths of it; another's
    as it is."""
    heads = entry.get("heads")
    if not heads or "by_length" not in heads[0]:
        return dict(entry)
    kept = [
        {key: head[key] for key in OF_A_HEAD}
        | {"by_length": {key: head["by_length"][key] for key in OF_A_HEAD_BY_LENGTH}}
        for head in heads
    ]
    return {**entry, "heads": kept}


def head_name(head: Entry) -> str:
    """`3.1`: layer and head."""
    return f"{head['layer']}.{head['head']}"


def curve_of(result: Result) -> str:
    """Whose curves a result of `freeatten entropy` has."""
    if result["statistic"] == "loss":
        return "of the whole model"
    if "head" in result:
        return f"layer {result['layer']}, head {result['head']}"
    return "mean over layers and heads"


def measure_digits(name: str) -> int:
    """Digits behind the point that a measure is worth."""
    return {"entropy": 2, "effective_tokens": 1, "mean_distance": 0}.get(name, 3)
