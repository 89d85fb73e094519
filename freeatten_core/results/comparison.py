"""What `freeatten compare` found: verdicts, tables, where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .format import (
    CONTROLS,
    MISSING,
    Entry,
    Result,
    control_text,
    count,
    finite,
    forms_text,
    half_width,
    number,
    plural,
    row_names,
    signed,
    source_name,
)
from .markdown import headings, machine, table, with_intervals
from .verdicts import HARMLESS

__all__ = [
    "bits_table",
    "delta_table",
    "has_interval",
    "loss_table",
    "no_language_text",
    "provenance",
    "swap_table",
    "verdict_text",
]

VERDICTS = {
    "uses": "uses the longer context",
    "harmless": "harmless",
    "no better": "no better than a window",
    "worse": "worse than a window",
    "not controlled": "better than a restart; S and W, the controls, were not measured",
    "unclear": "unclear",
}


def loss_table(result: Result) -> str:
    """Mean loss ± half of its 95 % interval, nats per token, variant × length."""
    rows = [
        [f"`{name}`", *with_intervals(row, "loss", number), number(row["bits_per_byte"][-1])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["loss", *headings(result), "bits per byte"], rows)


def bits_table(result: Result) -> str:
    """Bits per byte, which compare between rows with different tokenizers, variant × length."""
    rows = [
        [f"`{name}`", *map(number, row["bits_per_byte"])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["bits per byte", *headings(result)], rows)


def delta_table(result: Result) -> str:
    """Δ ± half of its interval, S and W at the longest length, with the verdict, and with that at
    the declared length where rows were read beyond it."""
    declared = any(row.get("at_declared") for row in result["variants"])
    rows = [
        [
            f"`{name}`",
            *with_intervals(row, "delta", signed),
            *(control_text(row, name) for name in CONTROLS.values()),
            verdict_text(row),
            *([_at_declared(row)] if declared else []),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    last = ["at the declared length"] if declared else []
    return table(["Δ", *headings(result), *CONTROLS, "verdict", *last], rows)


def _at_declared(row: Entry) -> str:
    found = row.get("at_declared")
    if found is None:
        return MISSING
    controls = ", ".join(f"{sign} {control_text(found, name)}" for sign, name in CONTROLS.items())
    return f"{verdict_text(found)} ({count(found['length'])}: {controls})"


def swap_table(result: Result) -> str:
    """How much the loss rises when far context is another file's."""
    rows = [
        [f"`{name}`", *with_intervals(row, "swap_delta", signed)[1:]]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["swapped − intact", *headings(result)[1:]], rows)


def provenance(result: Result) -> str:
    """One line: text, machine, versions, command."""
    text, forms = result["text"], forms_text(result)
    weights = f"weights of {forms}; " if forms else ""
    return (
        f"{plural(result['texts'], 'text')} of {source_name(text['source'])}{_qualifying(text)}, "
        f"{count(text['tokens'])} tokens scored at every length; {weights}{machine(result)}"
    )


def _qualifying(text: Mapping[str, Any]) -> str:
    if text["qualifying"] is None:
        return ""
    return f" ({plural(text['qualifying'], 'file')} of {count(text['files'])} long enough)"


def verdict_text(row: Entry) -> str:
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


def no_language_text(result: Result) -> str:
    """That the text is none that these models can read; empty where they read it.

    Then no loss tells anything of attention: every row is worse than guessing at every length.
    """
    pairs = [
        (loss, row.get("uniform_loss"))
        for row in result["variants"]
        for loss in row["loss"]
        if loss is not None
    ]
    if not pairs or not all(guess is not None and loss >= guess for loss, guess in pairs):
        return ""
    guess = min(guess for _, guess in pairs)
    models = "this model" if len(result["variants"]) == 1 else "these models"
    return (
        f"This text is not language to {models}: every loss is above {number(guess, 2)}, that of "
        "guessing among the tokens, so the rows tell nothing of attention; take a text of the "
        "kind they were trained on"
    )


def has_interval(row: Entry) -> bool:
    """Whether Δ at the longest length has an interval; from one text it has none."""
    return half_width(row["delta_ci95"][-1]) is not None
