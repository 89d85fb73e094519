"""`freeatten stability`: what low precision costs each attention, and where it overflows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import TEXT, AsJson, Device, Html, Png, Quiet, Svg, check_choice, command_line
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.console import RenderableType

    from freeatten_core.bench.stability import StabilitySettings
    from freeatten_core.results.facts import ResultDict

    from ..terminal.fitted import Column

__all__ = ["stability", "views"]

INPUTS = ("random", "checkpoint", "both")


def stability(
    variants: Annotated[
        str | None, typer.Option(help="Variants, with commas; every named one by default.")
    ] = None,
    lengths: Annotated[str, typer.Option(help="Tokens, with commas.")] = "128,512,2048,8192",
    scales: Annotated[
        str, typer.Option(help="What query and key are multiplied by, with commas.")
    ] = "1,4,16,64",
    dtypes: Annotated[
        str, typer.Option(help="float16, bfloat16, float32, with commas.")
    ] = "float16,bfloat16,float32",
    inputs: Annotated[
        str,
        typer.Option(help="random, checkpoint (queries and keys of the shipped models) or both."),
    ] = "both",
    text: Annotated[str, typer.Option(help=f"What the models read: {TEXT}")] = "stdlib",
    seed: Annotated[int, typer.Option(min=0, help="Of random numbers, and which text.")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write a line for every number type, form and cell.")
    ] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """Errors and overflow in float16, bfloat16 and float32 against float64, of every variant."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.bench.stability import flat, measure
    from freeatten_core.data.documents import evaluation_documents

    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    settings = _settings(variants, lengths, scales, dtypes, inputs, seed)
    chosen = choose_device(device)
    documents = evaluation_documents(text, sys.stdin) if settings.with_checkpoints else []

    def measured() -> ResultDict:
        with Console(stderr=True, quiet=quiet).status("starting") as status:
            return measure(
                settings,
                documents,
                source=text,
                device=chosen,
                command=command_line(),
                report=status.update,
            )

    outputs.give(measured, _print, _figure, flat)


def _settings(
    variants: str | None, lengths: str, scales: str, dtypes: str, inputs: str, seed: int
) -> StabilitySettings:
    from freeatten_core.basics.checks import parse_counts
    from freeatten_core.bench.stability import KINDS, NAMED, StabilitySettings, parse_scales

    check_choice("inputs", inputs, INPUTS)
    return StabilitySettings(
        variants=NAMED if variants is None else variants,
        lengths=parse_counts(lengths),
        scales=parse_scales(scales),
        dtypes=tuple(dict.fromkeys(name.strip() for name in dtypes.split(",") if name.strip())),
        inputs=KINDS if inputs == "both" else (inputs,),
        seed=seed,
    )


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    for view in views(result):
        console.print(view, highlight=False)
        console.print()


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.stability import scale_figure
    from freeatten_core.results.stability import kinds

    return scale_figure(result, kind=kinds(result)[0])


# Tables


def views(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A table for every kind of inputs and type, one of gradients, and how to read them."""
    from freeatten_core.results.stability import kinds

    for kind in kinds(result):
        for dtype in result["settings"]["dtypes"]:
            yield _error_table(result, kind, dtype)
        yield _gradient_table(result, kind)
    yield _reading(result)


def _error_table(result: Mapping[str, Any], kind: str, dtype: str) -> RenderableType:
    """Errors at the shortest and the longest length, and the scale from which rows are lost."""

    from freeatten_core.results.format import count
    from freeatten_core.results.stability import (
        FORM_TITLES,
        KIND_TITLES,
        entries,
        error_text,
        lost_from,
    )

    from ..terminal.fitted import Column, FittedTable

    lengths, scales = result["settings"]["lengths"], result["settings"]["scales"]
    ends = [0, -1] if len(lengths) > 1 else [0]
    rows = entries(result, kind)
    types = [entry["types"][dtype] for entry in rows]
    errors = [
        Column(f"{form}\n{count(lengths[end])}", [error_text(each[form], end, 0) for each in types])
        for form in FORM_TITLES
        for end in ends
    ]
    lost = [
        Column(f"lost\n{form}", [lost_from(result, each[form]) for each in types])
        for form in FORM_TITLES
    ]
    return FittedTable(
        [_names(rows)],
        [*errors, *lost],
        title=f"{dtype}, {KIND_TITLES[kind]}: error of the output, scale {scales[0]:g}",
    )


def _gradient_table(result: Mapping[str, Any], kind: str) -> RenderableType:
    """The largest error of the gradients of query, key and value, at the longest length."""

    from freeatten_core.results.format import count
    from freeatten_core.results.stability import (
        FORM_TITLES,
        KIND_TITLES,
        SHORT_TYPES,
        entries,
        gradient_text,
    )

    from ..terminal.fitted import Column, FittedTable

    settings = result["settings"]
    title = (
        f"{KIND_TITLES[kind].capitalize()}: largest error of a gradient, "
        f"{count(settings['lengths'][-1])} tokens, scale {settings['scales'][0]:g}"
    )
    rows = entries(result, kind)
    columns = [
        Column(
            f"{SHORT_TYPES[dtype]}\n{form}",
            [gradient_text(entry["types"][dtype][form]) for entry in rows],
        )
        for dtype in settings["dtypes"]
        for form in FORM_TITLES
    ]
    return FittedTable([_names(rows)], columns, title=title)


def _names(rows: Sequence[Mapping[str, Any]]) -> Column:
    from ..terminal.fitted import Column

    return Column("", [entry["variant"] for entry in rows], left=True)


def _reading(result: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from freeatten_core.results.format import count, partial_text
    from freeatten_core.results.speed import machine
    from freeatten_core.results.stability import FORM_TITLES, LOST, unmeasured

    longest = count(result["settings"]["lengths"][-1])
    lines = [*filter(None, [partial_text(result)])]
    lines += [f"{form}: {words}" for form, words in FORM_TITLES.items()]
    lines.append(
        f"errors are relative to float64, ‖x − x₆₄‖ / ‖x₆₄‖; {LOST}: not finite (with a share: "
        f"of the rows), or zero by mistake; lost: the scale of query and key from which some row "
        f"is, at {longest} tokens"
    )
    if unmeasured(result):
        lines.append(f"no shipped model of {', '.join(unmeasured(result))}: random inputs alone")
    lines.append(f"{machine(result)}, {result['seconds']:.0f} s")
    again = Text.assemble(("again: ", "dim"), result["command"], overflow="fold")
    return Group(*map(Text, lines), again)
