"""What tests/measure/far_heads.py found: by which heads a row gains from far text."""

from __future__ import annotations

from .ablation import ablation_texts
from .format import Entry, Result, count, number, row_names, signed, with_half_width
from .heads import HEADS_SHOWN, head_name
from .markdown import machine, table

__all__ = ["far_heads_blocks"]


def far_heads_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of such a result, by name."""
    rows = [
        [f"`{label}`", *(_changed(each) for each in (row["hidden"], *_strongest(row)))]
        for row, label in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    places = ["from its strongest", "second", "third"][:HEADS_SHOWN]
    heading = f"loss at {count(result['length'])} with far keys hidden"
    return {
        f"{name} heads": table([heading, "from all heads", *places], rows),
        f"{name} provenance": f"{ablation_texts(result)}; {machine(result)}",
    }


def _strongest(row: Entry) -> list[Entry]:
    """The heads by whose far keys the loss falls most."""
    return sorted(row["heads"], key=lambda head: -float(head["change"]))[:HEADS_SHOWN]


def _changed(each: Entry) -> str:
    """`4.2: +0.044 ±0.010, gate 0.84`: the head, if it is one, and how far its gate is open."""
    at = f"{head_name(each)}: " if "head" in each else ""
    gate = f", gate {number(each['gate'], 2)}" if "gate" in each else ""
    return f"{at}{with_half_width(signed(each['change']), each['change_ci95'])}{gate}"
