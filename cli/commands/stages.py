"""`freeatten stages`: one row of one head, from score to weight."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    AsJson,
    Device,
    Head,
    Html,
    Layer,
    LengthOfOne,
    Png,
    Quiet,
    SeedOfText,
    Svg,
    TextSource,
    any_rows_of,
    captures,
    command_line,
    layer_of,
    length_of,
)
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.analysis import Capture, RowStages

    from ..terminal.fitted import FittedTable

__all__ = ["stages"]

COLUMNS = ("key", "token", "score", "positivity", "normalise", "weight")
"""Of every visible key, under the same names in the terminal, in CSV and in JSON."""


def stages(
    checkpoint: Annotated[str, typer.Option(help="A shipped name, folder or hub name.")] = (
        "lssar-p15"
    ),
    layer: Layer = None,
    head: Head = 0,
    position: Annotated[
        int | None, typer.Option(min=0, help="The query's position; the last when left out.")
    ] = None,
    power: Annotated[
        int | None, typer.Option(min=1, max=64, help="Sharpen with this p instead.")
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, help="Let only the last so many keys be visible.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Keys shown, strongest first.")] = 12,
    len_: LengthOfOne = None,
    text: TextSource = "stdlib",
    seed: SeedOfText = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write every key here.")] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """What each stage does to one row: score, positivity, normalise, sharpen."""
    from freeatten_core.analysis import row_stages

    outputs = Outputs(as_json, html, png, svg, csv_file)
    outputs.check()
    rows = any_rows_of(None, [checkpoint], "")
    layer = layer_of(layer, rows)
    found, name = captures(
        rows,
        text=text,
        length=length_of(len_, rows, "1x"),
        seed=seed,
        device=device,
        layers=[layer],
        quiet=quiet,
    )
    query = found[0].length - 1 if position is None else position
    row = row_stages(found[0], layer, head, query, power=power or "own", last=last)
    outputs.deliver(_result(row, found[0], name), partial(_print, top=top), _figure, _csv_lines)


def _result(row: RowStages, capture: Capture, text: str) -> dict[str, Any]:
    keys = row.keys.tolist()
    labels = capture.labels(keys[0], row.position + 1)
    return {
        "schema": 2,
        "variant": str(row.stages),
        "checkpoint": capture.name,
        "text": text,
        "layer": row.layer,
        "head": row.head,
        "position": row.position,
        "visible": row.count,
        "offset": row.offset,
        "uniform": row.uniform,
        "command": command_line(),
        "key": keys,
        "token": [labels[key - keys[0]] for key in keys],
        "score": row.score.tolist(),
        "positivity": row.positivity.tolist(),
        "normalise": row.normalise.tolist(),
        "weight": row.weights.tolist(),
    }


def _print(result: dict[str, Any], top: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    count = result["visible"]
    token = result["token"][-1]
    console.print(
        Text(
            f"{result['variant']}, layer {result['layer']}, head {result['head']}: query "
            f"{token!r} at {result['position']:,} of {result['text']}, N = {count:,} visible keys"
        )
    )
    strongest = sorted(range(count), key=lambda i: -result["weight"][i])[:top]
    console.print(_table(result, strongest))
    zeros = sum(weight == 0 for weight in result["weight"])
    rest = 1 - sum(result["weight"][i] for i in strongest) / (sum(result["weight"]) or 1)
    if result["offset"]:
        console.print(
            f"re-weighting leaves what is above an even share, 1 / N = {1 / count:.4g}",
            highlight=False,
        )
    console.print(
        f"the other {count - len(strongest):,} keys hold {max(0.0, rest):.2%} of the weight; "
        f"{zeros:,} get exactly 0",
        highlight=False,
    )
    console.print(Text.assemble(("again: ", "dim"), result["command"], overflow="fold"))


def _table(result: dict[str, Any], keys: list[int]) -> FittedTable:
    """Some keys; columns as in CSV and JSON."""
    from ..terminal.fitted import Column, FittedTable

    def numbers(name: str, form: str) -> Column:
        return Column(name, [format(result[name][i], form) for i in keys])

    names = [numbers("key", ","), Column("token", [repr(result["token"][i]) for i in keys], True)]
    forms = {"score": ".3f", "positivity": ".4g", "normalise": ".4g", "weight": ".4g"}
    stages = [numbers(name, form) for name, form in forms.items()]
    # the weight is what all is about: the first stages go first
    return FittedTable(names, stages, first_go=True)


def _figure(result: dict[str, Any]) -> go.Figure:
    from freeatten_core.figures.analysis import stages_figure

    return stages_figure(result)


def _csv_lines(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for line in zip(*(result[column] for column in COLUMNS), strict=True):
        yield dict(zip(COLUMNS, line, strict=True))
