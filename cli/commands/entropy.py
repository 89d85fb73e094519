"""`freeatten entropy`: what every head's rows look like, by layer, head and position."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
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
    check_choice,
    command_line,
    progress,
    rows_of,
)
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.console import RenderableType

    from freeatten_core.measures.heads import SurveyRequest

    from ..terminal.fitted import FittedTable

__all__ = ["entropy"]

DEFAULT = "softmax,softmax-ls,lssa,lssar:p=15"
StatisticName = Annotated[
    str,
    typer.Option(
        help="relative_entropy, entropy, entropy_tokens, effective_tokens, largest, first, "
        "mean_distance, zeros, small or row_sum."
    ),
]


def entropy(
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    statistic: StatisticName = "relative_entropy",
    layer: Annotated[
        int | None, typer.Option(min=0, help="With --head: the curve of this head alone.")
    ] = None,
    head: Annotated[int | None, typer.Option(min=0, help="With --layer.")] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="List this many heads, highest first, not a table.")
    ] = None,
    lowest: Annotated[bool, typer.Option(help="With --top: lowest first.")] = False,
    sinks: Annotated[
        bool, typer.Option(help="List the heads with a sink: first token above 0.3 (T = 64).")
    ] = False,
    len_: Length = "4x",
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="Means over how many texts at most.")] = 1,
    by: Annotated[
        str | None,
        typer.Option(help="length: means at 1x, 2x, 4x, … too, and how far back rows read."),
    ] = None,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every head's means here.")
    ] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """Entropy, sinks, distance and more of every head, against position."""
    from freeatten_core.measures.heads import survey

    outputs = Outputs(as_json, html, png, svg, csv_file)
    outputs.check()
    _check_statistic(statistic)
    if by is not None:
        check_choice("by", by, ("length",))
    place = _place(layer, head, by)
    request = _request(
        variants,
        checkpoint,
        len_,
        text,
        device,
        statistic=statistic,
        place=place,
        texts=texts,
        by_length=by == "length",
        seed=seed,
    )
    with progress(quiet) as advance:
        result = survey(request, advance)
    outputs.deliver(
        result, partial(_print, top=top, lowest=lowest, sinks=sinks), _figure, _csv_lines
    )


def _check_statistic(name: str) -> None:
    from freeatten_core.analysis import STATISTICS
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.variants.variant import nearest

    if name not in STATISTICS:
        raise UsageError(f"--statistic is {name!r}{nearest(name, list(STATISTICS))}")


def _request(
    variants: str | None,
    checkpoints: list[str] | None,
    len_: str,
    text: str,
    device: str,
    **settings: Any,
) -> SurveyRequest:
    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.lengths import tokens_of
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.heads import SurveyRequest

    rows = rows_of(variants, checkpoints, DEFAULT)
    return SurveyRequest(
        rows=rows,
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        length=tokens_of(len_, rows[0].checkpoint.config.train_length),
        command=command_line(),
        device=choose_device(device),
        **settings,
    )


def _print(result: dict[str, Any], *, top: int | None, lowest: bool, sinks: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.format import row_names
    from freeatten_core.results.heads import curve_of

    from ..terminal.chart import line_chart

    console = Console()
    unit = f" ({result['unit']})" if result["unit"] else ""
    console.print(
        Text.assemble(
            (result["statistic"], "bold"),
            f", {result['label']}{unit}: {result['meaning']}\n"
            f"{result['length']:,} tokens of {_texts(result)}, mean over all rows",
        )
    )
    names = row_names(result["variants"])
    for entry, name in zip(result["variants"], names, strict=True):
        console.print()
        console.print(Text(name, style="bold"), overflow="fold")
        if top is not None or sinks:
            console.print(_list(entry, result, top, lowest=lowest, sinks=sinks))
        else:
            console.print(_table(entry, result))
        console.print(Text(_note(entry), style="dim"))
    if "lengths" in result:
        console.print()
        console.print(_by_length(result))
    curves = {
        name: (result["positions"], entry["by_position"])
        for entry, name in zip(result["variants"], names, strict=True)
    }
    title = f"{result['label']}{unit} by position, {curve_of(result)}"
    console.print()
    console.print(Text.from_ansi(line_chart(curves, title, console.width)))
    console.print(Text.assemble(("again: ", "dim"), result["command"], overflow="fold"))


def _place(layer: int | None, head: int | None, by: str | None) -> tuple[int, int] | None:
    """The head whose curve is asked for, if one is."""
    from freeatten_core.basics.errors import UsageError

    if layer is None and head is None:
        return None
    if layer is None or head is None:
        given, missing = ("--head", "--layer") if layer is None else ("--layer", "--head")
        raise UsageError(f"{given} is given without {missing}; a curve is of one head or of all")
    if by is not None:
        raise UsageError("--by length is of all heads; leave out --layer and --head")
    return layer, head


def _texts(result: dict[str, Any]) -> str:
    names = result["text"]["names"]
    if len(names) == 1:
        return str(names[0])
    from freeatten_core.results.format import source_name

    return f"{len(names)} texts of {source_name(result['text']['source'])}"


def _by_length(result: dict[str, Any]) -> RenderableType:
    """Means over heads by how much text a row has before it."""
    from rich.console import Group
    from rich.text import Text

    from freeatten_core.results.format import row_names
    from freeatten_core.results.heads import MEASURE_TITLES

    from ..terminal.fitted import Column, FittedTable

    shown = [name for name in (result["statistic"], "far", "received") if name in MEASURE_TITLES]
    lines = [
        (name, label, entry["by_length"])
        for name in shown
        for entry, label in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    columns = [
        Column(f"{length:,}", [_mean(found, name, at) for name, _, found in lines])
        for at, length in enumerate(result["lengths"])
    ]
    names = [
        Column("", [name for name, _, _ in lines], left=True),
        Column("", [label for _, label, _ in lines], left=True),
    ]
    return Group(
        FittedTable(
            names, columns, title="rows ℓ/2 to ℓ, mean over layers and heads", first_go=True
        ),
        Text("; ".join(f"{name}: {MEASURE_TITLES[name]}" for name in shown), style="dim"),
    )


def _mean(found: dict[str, Any], name: str, at: int) -> str:
    from freeatten_core.results.format import number, with_half_width
    from freeatten_core.results.heads import measure_digits

    digits = measure_digits(name)
    return with_half_width(number(found[name][at], digits), found[f"{name}_ci95"][at], digits)


def _table(entry: dict[str, Any], result: dict[str, Any]) -> FittedTable:
    from ..terminal.fitted import Column, FittedTable

    heads, name = entry["heads"], result["statistic"]
    layers = sorted({head["layer"] for head in heads})
    columns = [
        Column(f"head {at}", [_cell(head[name]) for head in heads if head["head"] == at])
        for at in sorted({head["head"] for head in heads})
    ]
    return FittedTable([Column("layer", [*map(str, layers)])], columns)


def _list(
    entry: dict[str, Any], result: dict[str, Any], top: int | None, *, lowest: bool, sinks: bool
) -> RenderableType:
    from freeatten_core.analysis.rows import SINK_THRESHOLD

    from ..terminal.fitted import Column, FittedTable

    key = "sink" if sinks else result["statistic"]
    heads = [head for head in entry["heads"] if head[key] is not None]
    if sinks:
        heads = [head for head in heads if head["sink"] > SINK_THRESHOLD]
    heads = sorted(heads, key=lambda head: float(head[key]), reverse=not lowest)[:top]
    if not heads:
        return "no head"
    names = [Column(name, [str(head[name]) for head in heads]) for name in ("layer", "head")]
    shown = dict.fromkeys((key, "mean_distance"))
    columns = [Column(name, [_cell(head[name]) for head in heads]) for name in shown]
    return FittedTable(names, columns)


def _cell(value: float | None) -> str:
    from freeatten_core.results.format import MISSING

    return MISSING if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _note(entry: dict[str, Any]) -> str:
    from freeatten_core.variants.stages import Stages
    from freeatten_core.variants.variant import Variant

    computed = Variant.parse(entry["variant"]).computes
    heads = len(entry["heads"])
    sink = entry["sink_rate"]
    parts = [] if sink is None else [f"{sink * heads:.3g} of {heads} heads have a sink"]
    if isinstance(computed, Stages) and computed.sharpen is not None:
        parts.append(f"the near-uniform rule fired on {entry['uniform_rule']:.2%} of rows")
    if isinstance(computed, Stages) and computed.needs_order:
        parts.append("the remainder is counted as the row's own key")
    return "; ".join(parts)


def _figure(result: dict[str, Any]) -> go.Figure:
    from freeatten_core.figures.analysis import survey_figure

    return survey_figure(result)


def _csv_lines(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in result["variants"]:
        for head in entry["heads"]:
            names = {"variant": entry["variant"], "checkpoint": entry["checkpoint"]}
            yield names | {key: value for key, value in head.items() if key != "by_length"}
