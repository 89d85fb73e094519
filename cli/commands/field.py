"""`freeatten field`: how far back tokens change what a model says next."""

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
    Length,
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

__all__ = ["field"]


def field(
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    len_: Length = "4x",
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="How many texts at most.")] = 8,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line a variant and distance.")] = None,
) -> None:
    """The receptive field: the last tokens that have 99 % of the next token's gradient."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.lengths import tokens_of
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.field import FieldRequest, measure_field

    from ..options import rows_of
    from ..terminal.watching import watched

    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    rows = rows_of(variants, checkpoint, DEFAULT_VARIANTS)
    request = FieldRequest(
        rows=rows,
        length=tokens_of(len_, rows[0].checkpoint.config.train_length),
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        texts=texts,
        seed=seed,
        device=choose_device(device),
    )

    def measure() -> ResultDict:
        with watched(Console(stderr=True, quiet=quiet), _line) as watch:
            return measure_field(request, watch)

    outputs.give(measure, _print, _figure, _csv_lines)


def _line(entry: Mapping[str, Any], done: int, of: int) -> str:
    """A row so far."""
    from freeatten_core.results.field import field_text

    state = "" if done == of else f"  (provisional: {done} of {of} texts)"
    return f"{entry['variant']}  receptive field: {field_text(entry)}{state}"


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.field import field_figure

    return field_figure(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.field import field_reading, field_text, near_share
    from freeatten_core.results.format import count, repeats_line, row_names, troubles

    from ..terminal.fitted import Column, FittedTable
    from ..terminal.tables import HURTS, command, run_line

    rows, console = result["variants"], Console()
    columns = [
        Column("receptive field", [field_text(row) for row in rows]),
        Column(
            f"% within {count(result['train_length'])}", [near_share(result, row) for row in rows]
        ),
    ]
    title = f"Receptive field at {count(result['length'])} tokens"
    console.print(FittedTable([Column("", row_names(rows), left=True)], columns, title=title))
    console.print()
    console.print(Text.from_ansi(_chart(result, console.width)))
    console.print()
    for line in troubles(result):
        console.print(Text(line, style=HURTS))
    for line in (field_reading(result), *repeats_line(result["text"])):
        console.print(Text(line))
    console.print(Text(run_line(result)))
    console.print(command(result))


def _chart(result: Mapping[str, Any], width: int) -> str:
    from freeatten_core.results.format import count, row_names

    from ..terminal.chart import line_chart

    rows, distances, trained = result["variants"], result["distances"], result["train_length"]
    lines = {
        name: (distances, [None if value is None else 100 * value for value in row["share"]])
        for name, row in zip(row_names(rows), rows, strict=True)
    }
    title = f"% of the gradient on so many last tokens; ┊ trained up to {count(trained)}"
    mark = trained if trained <= result["length"] else None
    return line_chart(lines, title, width, lengths=distances, mark=mark)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    run = {key: result[key] for key in ("length", "texts", "seed", "device", "dtype")}
    run["text_source"] = result["text"]["source"]
    for row in result["variants"]:
        facts = {key: row[key] for key in ("variant", "checkpoint", "train_length", "field")}
        facts |= dict(zip(("field_low", "field_high"), row["field_ci95"], strict=True))
        pairs = zip(result["distances"], row["share"], row["share_ci95"], strict=True)
        for distance, share, (low, high) in pairs:
            found = {"distance": distance, "share": share, "share_low": low, "share_high": high}
            yield facts | found | run
