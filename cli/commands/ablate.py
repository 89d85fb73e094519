"""`freeatten ablate`: why the loss rises past the training length, and by which heads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
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

    from freeatten_core.models.rows import CausalRow, Row
    from freeatten_core.results.facts import ResultDict

    from ..terminal.fitted import FittedTable

__all__ = ["ablate"]

LENGTH_HELP = (
    "Tokens of text: 16x the training length, or a number such as 8192. By default 16x; of a model "
    "of others, twice what it declares."
)
HEADS_HELP = "Hide far keys from every head on its own too; by default of this project's models."


def ablate(
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    heads: Annotated[bool | None, typer.Option("--heads/--no-heads", help=HEADS_HELP)] = None,
    len_: Annotated[str | None, typer.Option("--len", help=LENGTH_HELP)] = None,
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="How many texts at most.")] = 4,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write a line for everything undone, and every head.")
    ] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """Undo one thing that is new past the training length, and see what becomes of the loss."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.ablation import AblateRequest
    from freeatten_core.measures.ablation import ablate as undo

    from ..options import any_rows_of
    from ..terminal.watching import watched

    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    rows = any_rows_of(variants, checkpoint, DEFAULT_VARIANTS)
    request = AblateRequest(
        rows=rows,
        length=_length(len_, rows),
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        texts=texts,
        heads=heads if heads is not None else all(row.model.train_length for row in rows),
        seed=seed,
        device=choose_device(device),
    )

    def measure() -> ResultDict:
        with watched(Console(stderr=True, quiet=quiet), _line) as watch:
            return undo(request, watch)

    outputs.give(measure, _print, _figure, _csv_lines)


def _length(asked: str | None, rows: Sequence[Row | CausalRow]) -> int:
    from freeatten_core.basics.lengths import tokens_of

    trained = [row.model.train_length for row in rows if row.model.train_length is not None]
    if asked is None and not trained:
        return 2 * max(row.model.known_length or row.restart_length for row in rows)
    return tokens_of(asked or "16x", trained[0] if trained else None)


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.analysis import ablate_figure

    return ablate_figure(result)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Δ with each thing undone in every head, then the change by hiding far keys from one head."""
    run = {key: result[key] for key in ("length", "texts", "seed", "device", "dtype")}
    run |= {f"text_{key}": result["text"][key] for key in ("source", "tokens", "sha256")}
    nothing = dict.fromkeys(("delta", "delta_low", "delta_high"))
    nothing |= dict.fromkeys(("change", "change_low", "change_high"))
    for row in result["variants"]:
        facts = {key: row[key] for key in ("variant", "checkpoint")}
        facts |= {key: row.get(key) for key in ("train_length", "declared_length")}
        for name, delta in row["delta"].items():
            low, high = row["delta_ci95"][name] or (None, None)
            found = {"delta": delta, "delta_low": low, "delta_high": high}
            yield facts | {"undone": name, "layer": None, "head": None} | nothing | found | run
        for head in row.get("heads", ()):
            low, high = head["change_ci95"] or (None, None)
            place = {"undone": "window", "layer": head["layer"], "head": head["head"]}
            found = {"change": head["change"], "change_low": low, "change_high": high}
            yield facts | place | nothing | found | run


def _line(entry: Mapping[str, Any], done: int, of: int) -> str:
    """A row so far."""
    from freeatten_core.results.ablation import UNDONE_TITLES
    from freeatten_core.results.format import signed

    found = "  ".join(
        f"{title}: {signed(entry['delta'][name])}" for name, title in UNDONE_TITLES.items()
    )
    state = "" if done == of else f"  (provisional: {done} of {of} texts)"
    return f"{entry['variant']}  Δ {found}{state}"


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.ablation import ablation_reading, ablation_texts
    from freeatten_core.results.format import repeats_line, troubles

    console = Console()
    console.print(_deltas(result))
    if "heads" in result["variants"][0]:
        console.print()
        console.print(_heads(result))
    console.print()
    console.print(Text(ablation_reading(result)))
    for line in troubles(result):
        console.print(Text(line, style="red"))
    for line in (ablation_texts(result), *repeats_line(result["text"])):
        console.print(Text(line))
    console.print(Text.assemble(("again: ", "dim"), result["command"], overflow="fold"))


def _deltas(result: Mapping[str, Any]) -> FittedTable:
    from freeatten_core.results.ablation import UNDONE_TITLES
    from freeatten_core.results.format import row_names, signed, with_half_width

    from ..terminal.fitted import Column, FittedTable

    rows = result["variants"]
    columns = [
        Column(
            title,
            [with_half_width(signed(row["delta"][key]), row["delta_ci95"][key]) for row in rows],
        )
        for key, title in UNDONE_TITLES.items()
    ]
    names = Column("", row_names(rows), left=True)
    return FittedTable([names], columns, title=f"Δ at {result['length']:,} tokens")


def _heads(result: Mapping[str, Any]) -> FittedTable:
    from freeatten_core.results.ablation import strongest_heads
    from freeatten_core.results.format import row_names, signed
    from freeatten_core.results.heads import HEADS_SHOWN, head_name

    from ..terminal.fitted import Column, FittedTable

    rows = result["variants"]
    cells = [
        [f"{head_name(head)} {signed(head['change'])}" for head in strongest_heads(row)]
        for row in rows
    ]
    shown = min(HEADS_SHOWN, *map(len, cells))
    columns = [Column(f"head {at + 1}", [row[at] for row in cells]) for at in range(shown)]
    return FittedTable(
        [Column("", row_names(rows), left=True)],
        columns,
        title="the heads from which hiding far keys lowers the loss most",
    )
