"""What `freeatten retrieve` found, in words and tables."""

from __future__ import annotations

from .effective import EFFECTIVE_RULE, effective_text
from .format import (
    Result,
    count,
    forms_text,
    number,
    percent,
    percent_range,
    plural,
    row_names,
    signed,
    source_name,
)
from .markdown import headings, machine, pairs, table
from .tasks import asked

__all__ = [
    "EFFECTIVE",
    "accuracy_table",
    "control_table",
    "distance_table",
    "gain_table",
    "longest_at",
    "retrieval_provenance",
    "retrieval_reading",
    "retrieval_samples",
]

EFFECTIVE = "effective length"
"""The heading of its column."""


def gain_table(result: Result) -> str:
    """What the first copy of a block is worth, nats per token, variant × tokens in all."""
    rows = [
        [f"`{name}`", *pairs(row["gain"], row["gain_ci95"], signed), effective_text(result, row)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["gain", *headings(result), EFFECTIVE], rows)


def control_table(result: Result) -> str:
    """The loss on the block without its first copy, which a perfect copier would gain."""
    rows = [
        [f"`{name}`", *pairs(row["control"], row["control_ci95"], number)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["loss without the copy", *headings(result)], rows)


def accuracy_table(result: Result) -> str:
    """% of queries answered right and the interval, variant × length."""
    rows = [
        [
            f"`{name}`",
            *map(percent_range, row["accuracy"], row["accuracy_ci95"]),
            effective_text(result, row),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["% right", *headings(result), EFFECTIVE], rows)


def distance_table(result: Result) -> str:
    """The same at the longest length, by how far back the pair is."""
    edges = [f"≤ {count(edge)}" for edge in result["distances"]]
    at = longest_at(result)
    rows = [
        [f"`{name}`", *(percent_range(p["accuracy"], p["ci95"]) for p in row["by_distance"][at])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table([f"% right at {count(max(result['lengths']))}, distance", *edges], rows)


def longest_at(result: Result) -> int:
    """Which of the lengths is the longest."""
    return max(range(len(result["lengths"])), key=result["lengths"].__getitem__)


def retrieval_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    return f"{retrieval_samples(result)}; {retrieval_reading(result)}. {machine(result)}"


def retrieval_reading(result: Result) -> str:
    """What the numbers of `freeatten retrieve` say."""
    return f"{_score_reading(result)}; {EFFECTIVE_RULE}"


def _score_reading(result: Result) -> str:
    if result["task"] == "copy":
        return (
            f"gain: how much lower the loss on a block of {count(result['block'])} tokens is "
            "because its first copy stands at the start of the sequence; 0 means that it is not "
            "used"
        )
    task = result[result["task"]]
    return f"{asked(task)}; a guess is right in {percent(result['chance'])} %"


def retrieval_samples(result: Result) -> str:
    """How many sequences of what, and the form of weights that are no longer as they were."""
    if result["task"] != "copy":
        return f"{plural(result['samples'], 'sequence')} at every length"
    text, forms = result["text"], forms_text(result)
    return (
        f"{plural(result['samples'], 'sample')} of {source_name(text['source'])}, each block from "
        f"another file; the same at every length ({plural(text['files'], 'file')} in all)"
        + (f"; weights of {forms}" if forms else "")
    )
