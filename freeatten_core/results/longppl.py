"""What `freeatten longppl` found, in words and tables."""

from __future__ import annotations

from .format import (
    Entry,
    Result,
    count,
    declares,
    forms_text,
    marked_length,
    number,
    percent,
    plural,
    row_names,
    source_name,
    with_range,
)
from .markdown import machine, table

__all__ = [
    "LONGPPL_HEADS",
    "longppl_blocks",
    "longppl_cells",
    "longppl_provenance",
    "longppl_reading",
    "longppl_table",
    "longppl_warning",
]

LONGPPL_HEADS = ("LongPPL", "loss on key tokens", "loss on the rest")
"""Headings of `longppl_cells`."""


def longppl_cells(row: Entry) -> list[str]:
    """LongPPL with its interval, the loss on key tokens and that on the rest."""
    shown = with_range(number(row["longppl"], 2), row["longppl_ci95"])
    return [shown, number(row["key_loss"]), number(row["rest_loss"])]


def longppl_table(result: Result) -> str:
    """The same for every row."""
    rows = [
        [f"`{name}`", *longppl_cells(row)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["", *LONGPPL_HEADS], rows)


def longppl_reading(result: Result) -> str:
    """What the numbers of `freeatten longppl` say, and how many tokens are key."""
    judged, keys = result["tokens"], result["key_tokens"]
    return (
        f"key tokens: {count(keys)} of {count(judged)} ({percent(keys / judged)} %), of which "
        f"{result['evaluator']['variant']} ({result['evaluator']['checkpoint']}) loses more than "
        f"{result['gain']:g} nats where it reads the last {count(result['truncation'])} tokens "
        f"alone, and less than {result['known']:g} with all; LongPPL: the exponential of a row's "
        f"mean loss on them, lower is better; {plural(result['texts'], 'text')} of "
        f"{count(result['length'])} tokens of {source_name(result['text']['source'])}"
    )


def longppl_warning(result: Result) -> str:
    """That the evaluator reads more than it was trained on, or declares; empty where it does
    not."""
    evaluator = result["evaluator"]
    known = marked_length(evaluator)
    if known is None or result["length"] <= known:
        return ""
    told = "declares" if declares(evaluator) else "was trained at"
    return (
        f"the evaluator {told} {count(known)} tokens and reads "
        f"{count(result['length'])}: what it finds may not be what far context decides"
    )


def longppl_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    forms = forms_text({"variants": [result["evaluator"], *result["variants"]]})
    weights = f"Weights of {forms}. " if forms else ""
    return f"{longppl_reading(result)}. {weights}{machine(result)}"


def longppl_blocks(name: str, result: Result) -> dict[str, str]:
    """The text of the generated blocks of a stored result, by name."""
    return {
        f"{name} table": longppl_table(result),
        f"{name} provenance": longppl_provenance(result),
    }
