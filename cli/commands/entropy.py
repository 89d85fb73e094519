"""`freeatten entropy`: what every head's rows look like, by layer, head and position."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..help import QUIET
from ..options import DEVICE, LENGTH_HELP, TEXT, check_choice, command_line, progress, rows_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..terminal.fitted import FittedTable

DEFAULT = "softmax,softmax-ls,lssa,lssar:p=15"


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
    len_: Annotated[str, typer.Option("--len", help=LENGTH_HELP)] = "4x",
    text: Annotated[str, typer.Option(help=TEXT)] = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="Means over how many texts at most.")] = 1,
    by: Annotated[
        str | None,
        typer.Option(help="length: means at 1x, 2x, 4x, … too, and how far back rows read."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which texts, and where in them.")] = 0,
    device: Annotated[str, typer.Option(help=DEVICE)] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every head's means here.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the chart as one HTML file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the chart as PNG.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the chart as SVG.")] = None,
) -> None:
    """Entropy, sinks, distance and more of every head, against position."""
    from freeatten_core.analysis import STATISTICS
    from freeatten_core.analysis.rows import Name
    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.basics.lengths import tokens_of
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.heads import SurveyRequest, survey
    from freeatten_core.variants.variant import nearest

    from ..exports import check_outputs
    from ..outputs import deliver, show_json

    check_outputs({".html": html, ".png": png, ".svg": svg})
    if statistic not in STATISTICS:
        raise UsageError(f"--statistic is {statistic!r}{nearest(statistic, list(STATISTICS))}")
    if by is not None:
        check_choice("by", by, ("length",))
    place = _place(layer, head, by)
    check_outputs({".csv": csv_file})
    rows = rows_of(variants, checkpoint, DEFAULT)
    request = SurveyRequest(
        rows=rows,
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        length=tokens_of(len_, rows[0].checkpoint.config.train_length),
        command=command_line(),
        statistic=cast(Name, statistic),
        place=place,
        texts=texts,
        by_length=by == "length",
        seed=seed,
        device=choose_device(device),
    )
    with progress(quiet) as advance:
        result = survey(request, advance)

    def draw(path: Path) -> None:
        from freeatten_core.figures.analysis import survey_figure

        from ..exports import save_figure

        save_figure(survey_figure(result), path)

    deliver(
        lambda: (
            show_json(result) if as_json else _print(result, top=top, lowest=lowest, sinks=sinks)
        ),
        [
            *((path, draw) for path in (html, png, svg)),
            (csv_file, lambda path: _save_csv(result, path)),
        ],
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
    from freeatten_core.variants.variant import Variant

    heads = len(entry["heads"])
    sink = entry["sink_rate"]
    parts = [] if sink is None else [f"{sink * heads:.3g} of {heads} heads have a sink"]
    if Variant.parse(entry["variant"]).attention.sharpen is not None:
        parts.append(f"the near-uniform rule fired on {entry['uniform_rule']:.2%} of rows")
    return "; ".join(parts)


def _save_csv(result: dict[str, Any], path: Path) -> None:
    from ..exports import save_lines

    lines = [
        {"variant": entry["variant"], "checkpoint": entry["checkpoint"]}
        | {key: value for key, value in head.items() if key != "by_length"}
        for entry in result["variants"]
        for head in entry["heads"]
    ]
    save_lines(lines, path)
