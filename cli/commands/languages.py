"""`freeatten languages`: who tracks the state of strings longer than any trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import AsJson, Device, Html, Png, Quiet, Svg, command_line
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.results.facts import ResultDict
    from freeatten_core.training.recipe import Recipe

    from ..terminal.fitted import FittedTable

__all__ = ["languages"]

DEFAULT = "softmax,softmax-ls,lssar:p=15"


Out = Annotated[
    Path,
    typer.Option(help="The folder that keeps the models; those it has are not trained again."),
]
Wanted = Annotated[str, typer.Option(help="What to train, with commas; modifiers act when asked.")]
Languages = Annotated[
    str | None,
    typer.Option(
        help="even-pairs, modular-arithmetic, parity-check, cycle-navigation; by default all."
    ),
]
Longest = Annotated[int, typer.Option(min=2, help="Symbols of the longest string asked about.")]
Samples = Annotated[int, typer.Option(min=1, help="Strings of every length.")]
Seeds = Annotated[int, typer.Option(min=1, help="Models of each variant, from --seed on.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, training and strings.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps; default: 10,000.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Strings a step; default: 128.")]
Width = Annotated[int | None, typer.Option(min=2, help="Model width; default: 64.")]
Layers = Annotated[int | None, typer.Option(min=1, help="Layers; default: 5.")]
Heads = Annotated[int | None, typer.Option(min=1, help="Heads; default: 4.")]
Rates = Annotated[
    str | None, typer.Option(help="Peak learning rate; default: 1e-3. Of several the best.")
]
Csv = Annotated[
    Path | None, typer.Option(help="Write a line a variant, language and stretch of lengths.")
]


def languages(
    out: Out,
    variants: Wanted = DEFAULT,
    languages: Languages = None,
    longest: Longest = 500,
    samples: Samples = 32,
    seeds: Seeds = 1,
    seed: Seed = 0,
    steps: Steps = None,
    batch: Batch = None,
    width: Width = None,
    layers: Layers = None,
    heads: Heads = None,
    lr: Rates = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
) -> None:
    """Four regular languages: trained on up to 40 symbols, asked about up to 500."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.files import check_utf8
    from freeatten_core.data.tasks.languages import LANGUAGES
    from freeatten_core.measures.languages import LanguagesRequest, measure_languages
    from freeatten_core.ops.definitions import own_function
    from freeatten_core.variants.variant import Variant

    from ..terminal.watching import watched

    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    check_utf8(out)
    sizes = {"steps": steps, "batch": batch, "width": width, "layers": layers, "heads": heads}
    request = LanguagesRequest(
        variants=[own_function.allow(each) for each in Variant.parse_list(variants)],
        out=out,
        command=command_line(),
        languages=_names(languages) if languages else tuple(LANGUAGES),
        recipe=_recipe(seed, sizes | {"learning_rates": lr}),
        longest=longest,
        samples=samples,
        seeds=seeds,
        device=choose_device(device),
    )

    def measure() -> ResultDict:
        with watched(Console(stderr=True, quiet=quiet), _line) as watch:
            return measure_languages(request, watch)

    outputs.give(measure, _print, _figure, _csv_lines)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _recipe(seed: int, changes: Mapping[str, Any]) -> Recipe:
    from freeatten_core.training.tasks import RECIPES

    return replace(RECIPES["parity-check"], seed=seed).changed(**changes)


def _line(entry: Mapping[str, Any], _done: int, _of: int) -> str:
    """A row that is measured."""
    from freeatten_core.results.format import percent

    cells = "  ".join(
        f"{cell['language']}: {percent(cell['accuracy'])}" for cell in entry["languages"]
    )
    return f"{entry['variant']}  % right beyond: {cells}"


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.languages import languages_figure

    return languages_figure(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.format import count, troubles
    from freeatten_core.results.languages import beyond_cell, languages_reading, within_cell

    from ..terminal.tables import HURTS, command, run_line

    longest, trained = count(max(result["lengths"])), result["trained_to"]
    console = Console()
    console.print(_table(result, f"% right, {trained + 1} to {longest} symbols", beyond_cell))
    console.print()
    console.print(_table(result, f"% right, 1 to {trained} symbols (trained on)", within_cell))
    console.print()
    for line in troubles(result):
        console.print(Text(line, style=HURTS))
    console.print(Text(languages_reading(result)))
    console.print(Text(run_line(result)))
    console.print(command(result))


def _table(result: Mapping[str, Any], title: str, form: Any) -> FittedTable:
    from freeatten_core.results.format import row_names
    from freeatten_core.results.languages import language_title

    from ..terminal.fitted import Column, FittedTable

    rows = result["variants"]
    columns = [
        Column(language_title(result, name), [form(row["languages"][index]) for row in rows])
        for index, name in enumerate(result["languages"])
    ]
    return FittedTable([Column("", row_names(rows), left=True)], columns, title=title)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    run = {key: result[key] for key in ("trained_to", "samples", "device", "dtype")}
    run["seeds"] = len(result["seeds"])
    for row in result["variants"]:
        for cell in row["languages"]:
            edges = result["lengths"]
            shares = cell["accuracy_by_length"] or [None] * len(edges)
            for before, edge, share in zip([0, *edges], edges, shares, strict=False):
                place = {"variant": row["variant"], "language": cell["language"]}
                stretch = {"from": before + 1, "to": edge, "accuracy": share}
                yield place | stretch | {"score": cell["accuracy"]} | run
