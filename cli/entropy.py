"""`freeatten entropy`: what every head's rows look like, by layer, head and position."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command import command_line
from .help import DEVICE, TEXT
from .inside import LENGTH_HELP, captures, rows_of

if TYPE_CHECKING:
    from freeatten_core.analysis import Capture

DEFAULT = "softmax,softmax-ls,lssa,lssar:p=15"
POINTS = 64


def entropy(
    variants: Annotated[str | None, typer.Option(help="Shipped variants, with commas.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A folder, shipped name or hub name; repeatable.")
    ] = None,
    statistic: Annotated[
        str,
        typer.Option(
            help="relative_entropy, entropy, entropy_tokens, effective_tokens, largest, first, "
            "mean_distance, zeros, small or row_sum."
        ),
    ] = "relative_entropy",
    top: Annotated[
        int | None, typer.Option(min=1, help="List this many heads, highest first, not a table.")
    ] = None,
    lowest: Annotated[bool, typer.Option(help="With --top: lowest first.")] = False,
    sinks: Annotated[
        bool, typer.Option(help="List the heads with a sink: first token above 0.3 (T = 64).")
    ] = False,
    len_: Annotated[str, typer.Option("--len", help=LENGTH_HELP)] = "4x",
    text: Annotated[str, typer.Option(help=TEXT)] = "stdlib",
    seed: Annotated[int, typer.Option(min=0, help="Which text, and where in it.")] = 0,
    device: Annotated[str, typer.Option(help=DEVICE)] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every head's means here.")
    ] = None,
) -> None:
    """Entropy, sinks, distance and more of every head, against position."""
    from freeatten_core.analysis import STATISTICS
    from freeatten_core.errors import UsageError
    from freeatten_core.files import check_writable
    from freeatten_core.variants import nearest

    if statistic not in STATISTICS:
        raise UsageError(f"--statistic is {statistic!r}{nearest(statistic, list(STATISTICS))}")
    if csv_file is not None:
        check_writable(csv_file)
    rows = rows_of(variants, checkpoint, DEFAULT)
    found, name = captures(rows, text=text, length=len_, seed=seed, device=device)
    result = _result(found, name, statistic)
    if as_json:
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    else:
        _print(result, top=top, lowest=lowest, sinks=sinks)
    if csv_file is not None:
        _save_csv(result, csv_file)


def _result(found: Sequence[Capture], text: str, name: Any) -> dict[str, Any]:
    from freeatten_core.analysis import STATISTICS, by_position, head_table, sink_rate
    from freeatten_core.analysis import uniform_rule_share as uniform

    shown = STATISTICS[name]
    entries = []
    for capture in found:
        curves = [by_position(capture, name, layer, POINTS) for layer in capture.layers]
        mean = [
            sum(column) / len(column) for column in zip(*(_rows(c) for _, c in curves), strict=True)
        ]
        sink = sink_rate(capture) if capture.length >= 64 else None
        entries.append(
            {
                "variant": str(capture.variant),
                "checkpoint": capture.name,
                "heads": [
                    {
                        "layer": head.layer,
                        "head": head.head,
                        "sink": head.sink,
                        **_plain(head.values),
                    }
                    for head in head_table(capture)
                ],
                "sink_rate": None if sink is None else sink.share,
                "uniform_rule": uniform(capture).share,
                "by_position": [_number(value) for value in mean],
            }
        )
    positions = by_position(found[0], name, next(iter(found[0].layers)), POINTS)[0]
    return {
        "schema": 1,
        "text": text,
        "length": found[0].length,
        "train_length": found[0].train_length,
        "statistic": name,
        "label": shown.label,
        "unit": shown.unit,
        "meaning": shown.meaning,
        "command": command_line(),
        "positions": positions.tolist(),
        "variants": entries,
    }


def _rows(curve: Any) -> list[float]:
    """The mean over heads at every position."""
    return list(curve.nanmean(0).tolist())


def _plain(values: Any) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _print(result: dict[str, Any], *, top: int | None, lowest: bool, sinks: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from .chart import line_chart

    console = Console()
    unit = f" ({result['unit']})" if result["unit"] else ""
    console.print(
        f"[bold]{result['label']}{unit}[/]: {result['meaning']}\n"
        f"{result['length']:,} tokens of {result['text']}, mean over all rows",
        highlight=False,
    )
    for entry in result["variants"]:
        console.print()
        if top is not None or sinks:
            console.print(_list(entry, result, top, lowest=lowest, sinks=sinks))
        else:
            console.print(_table(entry, result))
        console.print(Text(_note(entry), style="dim"))
    curves = {
        entry["variant"]: (result["positions"], entry["by_position"])
        for entry in result["variants"]
    }
    title = f"{result['label']}{unit} by position, mean over layers and heads"
    console.print()
    console.print(Text.from_ansi(line_chart(curves, title, console.width)))
    console.print(Text.assemble(("again: ", "dim"), result["command"], overflow="fold"))


def _table(entry: dict[str, Any], result: dict[str, Any]) -> Any:
    from rich.table import Table

    heads = sorted({head["head"] for head in entry["heads"]})
    table = Table(title=entry["variant"], title_justify="left", box=None, pad_edge=False)
    table.add_column("layer")
    for head in heads:
        table.add_column(f"head {head}", justify="right")
    for layer in sorted({head["layer"] for head in entry["heads"]}):
        cells = [
            _cell(head[result["statistic"]]) for head in entry["heads"] if head["layer"] == layer
        ]
        table.add_row(str(layer), *cells)
    return table


def _list(
    entry: dict[str, Any], result: dict[str, Any], top: int | None, *, lowest: bool, sinks: bool
) -> Any:
    from rich.table import Table

    from freeatten_core.analysis.rows import SINK_THRESHOLD

    key = "sink" if sinks else result["statistic"]
    heads = [head for head in entry["heads"] if head[key] is not None]
    if sinks:
        heads = [head for head in heads if head["sink"] > SINK_THRESHOLD]
    heads.sort(key=lambda head: head[key], reverse=not lowest)
    table = Table(title=entry["variant"], title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "head", "sink" if sinks else result["label"], "mean distance"):
        table.add_column(column, justify="right")
    for head in heads[:top]:
        cells = _cell(head[key]), _cell(head["mean_distance"])
        table.add_row(str(head["layer"]), str(head["head"]), *cells)
    return table if heads else f"{entry['variant']}: no head"


def _cell(value: float | None) -> str:
    from freeatten_core.wording import MISSING

    return MISSING if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _note(entry: dict[str, Any]) -> str:
    heads = len(entry["heads"])
    sink = entry["sink_rate"]
    parts = [] if sink is None else [f"{round(sink * heads)} of {heads} heads have a sink"]
    if ":p=" in entry["variant"]:
        parts.append(f"the near-uniform rule fired on {entry['uniform_rule']:.2%} of rows")
    return "; ".join(parts)


def _save_csv(result: dict[str, Any], path: Path) -> None:
    from freeatten_core.files import replacing

    lines = [
        {"variant": entry["variant"], "checkpoint": entry["checkpoint"], **head}
        for entry in result["variants"]
        for head in entry["heads"]
    ]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
