"""What `freeatten field` found, in words and tables."""

from __future__ import annotations

from .format import (
    MISSING,
    Entry,
    Result,
    count,
    finite,
    half_width,
    percent,
    plural,
    row_names,
    source_name,
)
from .markdown import machine, table

__all__ = [
    "field_blocks",
    "field_provenance",
    "field_reading",
    "field_table",
    "field_text",
    "near_share",
]


def field_text(row: Entry) -> str:
    """`618 ±45` tokens."""
    if not finite(row["field"]):
        return MISSING
    half = half_width(row["field_ci95"])
    return count(round(row["field"])) + ("" if half is None else f" ±{count(round(half))}")


def near_share(result: Result, row: Entry) -> str:
    """% of the gradient on the last tokens, as many as a model was trained on; a dash where that
    many were not counted."""
    near = dict(zip(result["distances"], row["share"], strict=True))
    return percent(near.get(row["train_length"]))


def field_table(result: Result) -> str:
    """Receptive field and near share of every row."""
    rows = [
        [f"`{name}`", field_text(row), near_share(result, row)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    trained = count(result["train_length"])
    heading = f"receptive field, tokens of {count(result['length'])}"
    return table(["", heading, f"% of the gradient within {trained}"], rows)


def field_reading(result: Result) -> str:
    """What the numbers of `freeatten field` say."""
    return (
        f"receptive field: the least number of last tokens that have {result['share']} of "
        "the gradient of the next token's loss, norms by token of the embeddings; mean of "
        f"{plural(result['texts'], 'text')} of {source_name(result['text']['source'])}"
    )


def field_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    return f"{field_reading(result)}. {machine(result)}"


def field_blocks(name: str, result: Result) -> dict[str, str]:
    """The text of the generated blocks of a stored result, by name."""
    return {
        f"{name} table": field_table(result),
        f"{name} provenance": field_provenance(result),
    }
