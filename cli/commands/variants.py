"""`freeatten variants`: every name that can be typed, and what pictures call it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["variants"]

MOST_WHOLE = 30
"""Names up to so many characters are never broken."""


def variants(
    as_json: Annotated[
        bool, typer.Option("--json", help="The lists as JSON, alone on standard output.")
    ] = False,
) -> None:
    """List every variant, modifier and option, with what pictures call them."""
    from rich.console import Console

    from ..terminal.glossary import glossary

    found = glossary()
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    console = Console()
    for table in _tables(found):
        console.print(table)
        console.print()
    console.print(
        "Typed together: VARIANT[:OPTION]…[+MODIFIER[:OPTION]]…, as in lssar:p=15+rerope or "
        "softmax+swap:to=softmax-ls. freeatten checkpoints lists the shipped weights.",
        highlight=False,
    )


def _tables(found: dict[str, Any]) -> list[Table]:
    return [
        _table(
            "Variants; *: weights are shipped",
            ("typed", "in pictures", "stages", "source"),
            [
                (
                    each["name"] + (" *" if each["shipped"] else ""),
                    each["label"],
                    _stages(each),
                    each["source"],
                )
                for each in found["variants"]
            ],
        ),
        _table(
            "Modifiers, for any checkpoint; L: the training length, N: the visible keys",
            ("typed", "does"),
            [
                (f"{each['name']}{':' + each['option'] if each['option'] else ''}", each["meaning"])
                for each in found["modifiers"]
            ],
        ),
        _table(
            "Options",
            ("typed", "means"),
            [(each["option"], each["meaning"]) for each in found["options"]],
        ),
        _table(
            "Positions, of :position=",
            ("typed", "is", "source"),
            [(each["name"], each["meaning"], each["source"]) for each in found["positions"]],
        ),
        _table(
            "Short names",
            ("typed", "stands for"),
            [(each["name"], each["variant"]) for each in found["short_names"]],
        ),
        _table(
            "Stages",
            ("stage", "typed", "computes"),
            [(each["stage"], each["value"], each["meaning"]) for each in found["stages"]],
        ),
        _table(
            "What else pictures call by another name",
            ("typed", "in pictures"),
            [(each["name"], each["label"]) for each in found["labels"]],
        ),
    ]


def _stages(variant: dict[str, Any]) -> str:
    power = f", p={variant['p']}" if variant["p"] is not None else ""
    return f"{variant['score']}, {variant['positivity']}, {variant['normalise']}{power}"


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        whole = heading == "typed" and max(map(len, cells)) < MOST_WHOLE
        table.add_column(heading, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
