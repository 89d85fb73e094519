"""`freeatten longppl`: perplexity on the tokens that far context decides."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    DEFAULT_VARIANTS,
    AsJson,
    Checkpoints,
    Device,
    Html,
    Png,
    Quiet,
    SeedOfTexts,
    Svg,
    TextSource,
    Variants,
    command_line,
)
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.results.facts import ResultDict

__all__ = ["longppl"]

Evaluator = Annotated[
    str,
    typer.Option(help="The checkpoint that says which tokens far context decides; modifiers too."),
]
Length = Annotated[
    str | None,
    typer.Option(
        "--len",
        help="Tokens of text; by default what the evaluator was trained on; of a model of "
        "others, up to 2048 of what it declares.",
    ),
]
Truncate = Annotated[int, typer.Option(min=2, help="Tokens of the short context.")]
Csv = Annotated[Path | None, typer.Option(help="Write a line a variant.")]


def longppl(
    evaluator: Evaluator,
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    len_: Length = None,
    truncate: Truncate = 512,
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="How many texts at most.")] = 8,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
) -> None:
    """LongPPL: the loss on tokens that an evaluator knows from far context alone."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.longppl import LongPplRequest, measure_longppl

    from ..options import any_rows_of, length_of
    from ..terminal.watching import watched

    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    (judge,) = any_rows_of(None, [evaluator], DEFAULT_VARIANTS)
    request = LongPplRequest(
        rows=any_rows_of(variants, checkpoint, DEFAULT_VARIANTS),
        evaluator=judge,
        length=length_of(len_, [judge], "1x"),
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        truncation=truncate,
        texts=texts,
        seed=seed,
        device=choose_device(device),
    )

    def measure() -> ResultDict:
        with watched(Console(stderr=True, quiet=quiet), _line) as watch:
            return measure_longppl(request, watch)

    outputs.give(measure, _print, _figure, _csv_lines)


def _line(entry: Mapping[str, Any], _done: int, _of: int) -> str:
    """A row that is measured."""
    from freeatten_core.results.longppl import longppl_cells

    return f"{entry['variant']}  LongPPL {longppl_cells(entry)[0]}"


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.longppl import longppl_figure

    return longppl_figure(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.format import count, repeats_line, row_names, troubles
    from freeatten_core.results.longppl import (
        LONGPPL_HEADS,
        longppl_cells,
        longppl_reading,
        longppl_warning,
    )

    from ..terminal.fitted import Column, FittedTable
    from ..terminal.tables import HURTS, command, run_line

    rows, console = result["variants"], Console()
    cells = [longppl_cells(row) for row in rows]
    columns = [Column(head, [row[at] for row in cells]) for at, head in enumerate(LONGPPL_HEADS)]
    title = f"LongPPL at {count(result['length'])} tokens"
    console.print(FittedTable([Column("", row_names(rows), left=True)], columns, title=title))
    console.print()
    for line in filter(None, (longppl_warning(result), *troubles(result))):
        console.print(Text(line, style=HURTS))
    for line in (longppl_reading(result), *repeats_line(result["text"])):
        console.print(Text(line))
    console.print(Text(run_line(result)))
    console.print(command(result))


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    run = {key: result[key] for key in ("length", "truncation", "texts", "seed", "device", "dtype")}
    run |= {key: result[key] for key in ("tokens", "key_tokens")}
    run |= {"evaluator": result["evaluator"]["checkpoint"], "text_source": result["text"]["source"]}
    for row in result["variants"]:
        low, high = row["longppl_ci95"]
        named = {key: row[key] for key in ("variant", "checkpoint")}
        named |= {key: row.get(key) for key in ("train_length", "declared_length", "longppl")}
        losses = {key: row[key] for key in ("key_loss", "rest_loss", "loss")}
        yield named | {"longppl_low": low, "longppl_high": high} | losses | run
