"""`freeatten bench`: speed and memory of the attention forwards on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def bench(
    lengths: Annotated[str, typer.Option(help="Tokens, with commas.")] = "2048,8192",
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 8,
    batch: Annotated[int, typer.Option(help="Sequences.")] = 1,
    dim: Annotated[int, typer.Option(help="Head size.")] = 64,
    variants: Annotated[
        str, typer.Option(help="Variants, with commas; the naive forms are of the first.")
    ] = "lssar:p=15,lssa,softmax",
    repeat: Annotated[int, typer.Option(help="Repetitions; the median counts.")] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result as JSON, alone on standard output.")
    ] = False,
) -> None:
    """Time and memory of each attention against torch's softmax, on the CPU."""
    from rich.console import Console

    from freeatten_core.benchmark import Settings, benchmark, parse_counts

    settings = Settings(
        lengths=parse_counts(lengths),
        heads=heads,
        batch=batch,
        dim=dim,
        variants=variants,
        repeat=repeat,
    )
    with Console(stderr=True).status("starting") as status:
        result = benchmark(settings, report=status.update)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        Console().print(table(result))


def table(result: Mapping[str, Any]) -> Table:
    """One line a peer and length; what could not be measured says why."""
    from rich.table import Table

    shape, versions = result["settings"], result["versions"]
    view = Table(
        title=(
            f"Causal attention forward, float32, batch {shape['batch']}, {shape['heads']} heads "
            f"of {shape['dim']}\n{result['device']}, {result['threads']} threads, "
            f"torch {versions['torch']}"
        ),
        caption=(
            "ms: median of "
            f"{shape['repeat']} · GFLOP/s: nominal · ratio: to sdpa softmax in this run · "
            "MB: peak above the inputs"
        ),
        box=None,
        pad_edge=False,
    )
    view.add_column("tokens", justify="right")
    view.add_column("", no_wrap=True)
    for heading in ("ms", "GFLOP/s", "ratio", "MB"):
        view.add_column(heading, justify="right", no_wrap=True)
    view.add_column("")
    previous = None
    for row in result["rows"]:
        first = row["length"] != previous
        previous = row["length"]
        if first and view.row_count:
            view.add_section()
        view.add_row(
            f"{row['length']:,}" if first else "",
            row["peer"],
            _number(row["ms"], 1),
            _number(row["gflops"], 0),
            _number(row["ratio"], 2),
            _number(row["peak_mb"], 1),
            row["note"],
        )
    return view


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
