"""`freeatten entropy`: what every head's rows look like, by layer, head and position."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    DEFAULT_VARIANTS,
    AsJson,
    Checkpoints,
    Device,
    Html,
    LengthOfFour,
    Png,
    Quiet,
    SeedOfTexts,
    Svg,
    TextSource,
    Variants,
    any_rows_of,
    check_choice,
    command_line,
    layer_of,
    length_of,
    progress,
)
from ..outputs import Outputs
from ..ranks import joined

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import torch
    from rich.console import RenderableType

    from freeatten_core.measures.heads import SurveyRequest
    from freeatten_core.models.rows import CausalRow, Row
    from freeatten_core.results.facts import ResultDict

    from ..terminal.fitted import FittedTable

__all__ = ["entropy"]

StatisticName = Annotated[
    str,
    typer.Option(
        help="relative_entropy, entropy, entropy_tokens, effective_tokens, largest, first, "
        "mean_distance, zeros, small or row_sum; or loss, of the whole model."
    ),
]
LayerOfCurve = Annotated[
    int | None, typer.Option(min=0, help="With --head: the curve of this head alone.")
]
Layers = Annotated[
    str | None,
    typer.Option(
        help="Which layers: all, or their numbers with commas. By default all, of a model of "
        "others one, which is the third with attention."
    ),
]
By = Annotated[
    str | None,
    typer.Option(help="length: means at 1x, 2x, 4x, … too, and how far back rows read."),
]


def entropy(
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    statistic: StatisticName = "relative_entropy",
    layer: LayerOfCurve = None,
    layers: Layers = None,
    head: Annotated[int | None, typer.Option(min=0, help="With --layer.")] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="List this many heads, highest first, not a table.")
    ] = None,
    lowest: Annotated[bool, typer.Option(help="With --top: lowest first.")] = False,
    sinks: Annotated[
        bool, typer.Option(help="List the heads with a sink: first token above 0.3 (T = 64).")
    ] = False,
    len_: LengthOfFour = None,
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="Means over how many texts at most.")] = 1,
    by: By = None,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the means of heads, or the loss, here.")
    ] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """Entropy, sinks, distance and more of every head, against position."""
    outputs = Outputs(as_json, html, png, svg, csv_file)
    outputs.check()
    _check_statistic(statistic, layer=layer, head=head, layers=layers, by=by, top=top, sinks=sinks)
    if by is not None:
        check_choice("by", by, ("length",))
    place = _place(layer, head, by)
    show = partial(_print, top=top, lowest=lowest, sinks=sinks)
    with joined(device) as (ranks, chosen):
        quiet = quiet or not ranks.writes
        request = _request(
            variants,
            checkpoint,
            len_,
            text,
            chosen,
            statistic=statistic,
            layers=layers,
            quiet=quiet,
            place=place,
            texts=texts,
            by_length=by == "length",
            seed=seed,
            ranks=ranks,
        )
        measure = partial(_survey, request, quiet=quiet)
        outputs.give(measure, show, _figure, _csv_lines, writes=ranks.writes)


def _survey(request: SurveyRequest, *, quiet: bool) -> ResultDict:
    from freeatten_core.measures.heads import survey

    with progress(quiet) as advance:
        return survey(request, advance)


def _check_statistic(name: str, **of_heads: Any) -> None:
    """Whether there is one of that name, and for the loss that nothing of heads is asked for."""
    from freeatten_core.analysis import STATISTICS
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.variants.variant import nearest

    known = [*STATISTICS, "loss"]
    if name not in known:
        raise UsageError(f"--statistic is {name!r}{nearest(name, known)}")
    for option, value in of_heads.items():
        if name == "loss" and value is not None and value is not False:
            raise UsageError(f"--statistic loss is of the whole model; leave out --{option}")


def _request(
    variants: str | None,
    checkpoints: list[str] | None,
    len_: str | None,
    text: str,
    device: torch.device,
    *,
    layers: str | None,
    place: tuple[int, int] | None,
    quiet: bool,
    **settings: Any,
) -> SurveyRequest:
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.heads import SurveyRequest

    rows = any_rows_of(variants, checkpoints, DEFAULT_VARIANTS)
    length = length_of(len_, rows, "4x")
    of_heads = settings["statistic"] != "loss" or layers is not None or place is not None
    chosen = _layers(layers, place, rows) if of_heads else None
    if not quiet and layers is not None:
        _tell_forecast(rows, length, chosen, device)
    return SurveyRequest(
        rows=rows,
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        length=length,
        command=command_line(),
        device=device,
        layers=chosen,
        place=place,
        **settings,
    )


def _layers(
    asked: str | None, place: tuple[int, int] | None, rows: Sequence[Row | CausalRow]
) -> list[int] | None:
    """The layers to look at; None for all."""
    from freeatten_core.basics.errors import UsageError

    if asked is None:
        if all(row.model.train_length is not None for row in rows):
            return None
        return [layer_of(None, rows) if place is None else place[0]]
    if asked == "all":
        return None
    try:
        chosen = sorted({int(number) for number in asked.split(",")})
    except ValueError:
        raise UsageError(
            f"--layers is {asked!r}; write all, or numbers with commas such as 0,4,9"
        ) from None
    if place is not None and place[0] not in chosen:
        raise UsageError(f"--layer {place[0]} is not among --layers {asked}")
    return chosen


def _tell_forecast(
    rows: Sequence[Row | CausalRow],
    length: int,
    layers: Sequence[int] | None,
    device: torch.device,
) -> None:
    """What a pass of each row takes, before it starts."""
    from rich.console import Console

    from freeatten_core.analysis import forecast
    from freeatten_core.basics.progress import about

    console = Console(stderr=True)
    for row in rows:
        found = forecast(row.model, length, layers, device=device)
        time = "" if found.seconds is None else f" and {about(found.seconds)}"
        console.print(
            f"{row.name}: a text of {length:,} tokens needs {found.bytes / 1e9:.1f} GB{time}",
            markup=False,
            highlight=False,
        )


def _print(result: dict[str, Any], *, top: int | None, lowest: bool, sinks: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.format import repeats_line, row_names, troubles
    from freeatten_core.results.heads import curve_of

    from ..terminal.chart import line_chart
    from ..terminal.tables import HURTS

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
        if entry.get("error"):
            continue  # its reason stands below
        if "heads" not in entry:
            console.print(f"{_cell(entry['loss'])} {result['unit']}", highlight=False)
            continue
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
    for line in troubles(result):
        console.print(Text(line, style=HURTS))
    for line in repeats_line(result["text"]):
        console.print(Text(line))
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
    from freeatten_core.results.format import declares
    from freeatten_core.variants.stages import Stages
    from freeatten_core.variants.variant import Variant

    computed = None if declares(entry) else Variant.parse(entry["variant"]).computes
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
        names = {"variant": entry["variant"], "checkpoint": entry["checkpoint"]}
        if "heads" not in entry:
            for position, loss in zip(result["positions"], entry["by_position"], strict=True):
                yield names | {"position": position, "loss": loss}
            continue
        for head in entry["heads"]:
            yield names | {key: value for key, value in head.items() if key != "by_length"}
