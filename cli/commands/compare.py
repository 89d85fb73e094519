"""`freeatten compare`: loss against length, with a verdict for every variant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    AsJson,
    Device,
    Html,
    Png,
    Quiet,
    SeedOfTexts,
    Svg,
    TextSource,
    announce_conversions,
    check_choice,
    command_line,
)
from ..outputs import deliver, marked, refuse_failed

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from freeatten_core.measures.compared import Comparison
    from freeatten_core.measures.comparison import Request
    from freeatten_core.models.rows import CausalRow, Row
    from freeatten_core.models.transformers_model import CausalModel

__all__ = ["compare"]

MEASURING = (
    *(
        "len_",
        "checkpoint",
        "ceiling",
        "restart",
        "text",
        "texts",
        "seed",
        "device",
        "device_map",
        "dtype",
    ),
    "control",
)
"""Parameters of `compare` that say what to measure, and so nothing of what is stored."""
CUBE = "cube"
"""In the place of variants: the ablation cube."""
NOT_SHIPPED = (
    "stored results: the weights of the cube are not shipped, and python tests/measure/cube.py "
    "makes them anew"
)
NumberType = Annotated[
    str, typer.Option(help="float32, bfloat16 or float16; the last two report stability.")
]
Control = Annotated[
    str, typer.Option(help="restart, or swap: far context replaced by another file's.")
]
By = Annotated[
    str | None,
    typer.Option(help="'position': also the loss at each position, in charts and JSON."),
]
Stored = Annotated[
    str | None,
    typer.Option(help="Show a stored result and measure nothing: stdlib-16x, systems/code, …"),
]

AnyCheckpoints = Annotated[
    list[str] | None,
    typer.Option(
        help="A folder, shipped name or Hugging Face repository, of a causal language model of "
        "transformers too, or a .gguf file; can be repeated."
    ),
]
Ceiling = Annotated[
    str | None,
    typer.Option(
        help="A checkpoint trained at a longer length: what share of its gain do the rows reach?"
    ),
]
Restart = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Of models of others: tokens after which the model they are compared with forgets; "
        "by default up to 2048 of the length that they declare.",
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        help="Of models of others: auto spreads each over all GPUs and main memory, by accelerate; "
        "for those larger than one GPU."
    ),
]


def compare(
    ctx: typer.Context,
    len_: Annotated[
        str,
        typer.Option("--len", help="Context lengths: 16x (1x, 2x, … up to it), 8192, or 1x,4x."),
    ] = "16x",
    variants: Annotated[
        str | None, typer.Option(help="Shipped variants, such as softmax+yarn,lssar:p=15; or cube.")
    ] = None,
    checkpoint: AnyCheckpoints = None,
    ceiling: Ceiling = None,
    restart: Restart = None,
    text: TextSource = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="How many texts at most.")] = 4,
    seed: SeedOfTexts = 0,
    device: Device = "auto",
    device_map: DeviceMap = None,
    dtype: NumberType = "float32",
    control: Control = "restart",
    by: By = None,
    stored: Stored = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line a variant and length.")] = None,
    npz: Annotated[Path | None, typer.Option(help="Write the loss of every token.")] = None,
) -> None:
    """Loss against context length for trained checkpoints, on real text."""
    from ..exports import check_outputs

    by_position = by is not None
    check_outputs({".html": html, ".png": png, ".svg": svg, ".csv": csv, ".npz": npz})
    _check_choices(dtype, control, by)
    give = partial(_deliver, (html, png, svg), csv, npz, as_json=as_json, by_position=by_position)
    names = [name.strip() for name in (variants or "").split(",")]
    if CUBE in names:
        give(_stored_cube(ctx, names, stored, by_position=by_position, npz=npz))
    elif stored is not None:
        _refuse_measuring(ctx, "--stored")
        give(_stored(stored, variants, by_position=by_position, npz=npz))
    else:
        asked = len_ if _given(ctx, "len_") else None

        def rows() -> list[Row | CausalRow]:
            return _rows(variants, checkpoint, restart, asked, _loader(device_map, dtype))

        options: dict[str, Any] = {
            "text": text,
            "texts": texts,
            "seed": seed,
            "dtype": dtype,
            "control": control,
        }
        options |= {"by_position": by_position, "ceiling": ceiling}
        _measure(partial(_request, rows, len_, asked, **options), device, give, quiet=quiet)


def _check_choices(dtype: str, control: str, by: str | None) -> None:
    check_choice("control", control, ("restart", "swap"))
    check_choice("by", by or "position", ("position",))
    if dtype != "float32":
        from freeatten_core.basics.devices import DTYPES  # with them comes torch

        check_choice("dtype", dtype, tuple(DTYPES))


def _measure(
    request: Callable[..., Request],
    device: str,
    give: Callable[[Comparison], None],
    *,
    quiet: bool,
) -> None:
    """Compare, and give what is done also where that is interrupted; of several ranks one does."""
    from rich.console import Console

    from freeatten_core.measures.compared import InterruptedComparison

    from ..ranks import joined

    with joined(device) as (ranks, chosen):
        asked = request(device=chosen, ranks=ranks)
        _warn_trained_on(asked, Console(stderr=True, quiet=not ranks.writes))
        console = Console(stderr=True, quiet=quiet or not ranks.writes)
        try:
            done = _run(asked, console)
        except InterruptedComparison as stopped:
            if ranks.writes:
                give(stopped.done)
            raise
        if ranks.writes:
            give(done)
            refuse_failed(done.result)


def _deliver(
    pictures: Sequence[Path | None],
    csv: Path | None,
    npz: Path | None,
    done: Comparison,
    *,
    as_json: bool,
    by_position: bool,
) -> None:
    """Show the result and write its files."""
    from ..exports import save_csv

    def show() -> None:
        if as_json:
            sys.stdout.write(json.dumps(done.result, separators=(",", ":")) + "\n")
        else:
            _print(done.result, by_position=by_position)

    figure = partial(_save_figure, done.result, by_position=by_position)
    deliver(
        show,
        [
            *((path, figure) for path in pictures),
            (csv, partial(save_csv, done.result)),
            (npz, partial(_save_losses, done)),
        ],
    )


def _rows(
    variants: str | None,
    checkpoints: list[str] | None,
    restart: int | None,
    asked: str | None,
    load_causal: Callable[[str], CausalModel],
) -> list[Row | CausalRow]:
    """Rows as they were named.

    Args:
        restart: as it was given.
        asked: `--len`, if it was given.
        load_causal: loads a model of others.
    """
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.basics.lengths import default_restart
    from freeatten_core.models.rows import ROWS, load_scored_rows
    from freeatten_core.variants.variant import Variant

    if variants is not None:
        wanted = Variant.parse_list(variants)
    else:
        wanted = [] if checkpoints else [Variant.parse(name) for name in ROWS]
    announce_conversions(checkpoints or [])
    rows = load_scored_rows(
        wanted,
        list(dict.fromkeys(checkpoints or [])),
        lambda declared: default_restart(declared, asked) if restart is None else restart,
        load_causal,
    )
    if restart is not None and all(row.model.train_length is not None for row in rows):
        raise UsageError(
            f"--restart {restart} goes with models of others only; those of this project restart "
            "after their training length"
        )
    return rows


def _loader(device_map: str | None, dtype: str) -> Callable[[str], CausalModel]:
    """How models of others are loaded."""
    from freeatten_core.basics.devices import DTYPES
    from freeatten_core.models.transformers_model import load_causal_model

    if device_map is None:
        return load_causal_model
    check_choice("device-map", device_map, ("auto",))
    return partial(load_causal_model, device_map=device_map, dtype=DTYPES[dtype])


def _stored_cube(
    ctx: typer.Context,
    names: list[str],
    stored: str | None,
    *,
    by_position: bool,
    npz: Path | None,
) -> Comparison:
    """The stored result that `cube` stands for."""
    from freeatten_core.basics.errors import UsageError

    name = f"{CUBE}/code"
    if names != [CUBE] or stored is not None:
        raise UsageError(
            f"--variants {CUBE} stands for --stored {name} and goes with nothing else; for some "
            f"of its rows: --stored {name} --variants softmax,lssa"
        )
    _refuse_measuring(ctx, f"--variants {CUBE}")
    found = _stored(name, None, by_position=by_position, npz=npz)
    typer.echo(NOT_SHIPPED, err=True)
    return found


def _refuse_measuring(ctx: typer.Context, shown: str) -> None:
    from freeatten_core.basics.errors import UsageError

    sources = {
        parameter.opts[0]: ctx.get_parameter_source(parameter.name)
        for parameter in ctx.command.params
        if parameter.name in MEASURING
    }
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot go with {shown}: stored results are shown as they were "
            "measured"
        )


def _stored(name: str, variants: str | None, *, by_position: bool, npz: Path | None) -> Comparison:
    """A stored result, of the variants named if any are."""
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.measures.compared import Comparison
    from freeatten_core.results.stored import all_comparisons
    from freeatten_core.variants.variant import Variant, nearest

    known = all_comparisons()
    if name not in known:
        raise UsageError(f"no stored result is named {name!r}{nearest(name, list(known))}")
    if npz is not None:
        raise UsageError("--npz needs the loss of every token, which stored results do not have")
    result = known[name]
    if by_position and not result.get("positions"):
        raise UsageError(f"{name} was measured without --by position and has no losses by position")
    if variants is not None:
        wanted = [str(variant) for variant in Variant.parse_list(variants)]
        rows = {row["variant"]: row for row in result["variants"]}
        missing = [each for each in wanted if each not in rows]
        if missing:
            raise UsageError(f"{name} has no row {missing[0]!r}{nearest(missing[0], list(rows))}")
        result = {**result, "variants": [rows[each] for each in wanted]}
    return Comparison(dict(result), {})


def _given(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _lengths(len_: str, asked: str | None, rows: Sequence[Row | CausalRow]) -> list[int]:
    from freeatten_core.basics.lengths import parse_declared_lengths, parse_lengths

    restarts = list(dict.fromkeys(row.restart_length for row in rows))
    models = [row.model for row in rows if row.model.train_length is None]
    if not models:
        return parse_lengths(len_, restarts)
    return parse_declared_lengths(
        asked,
        restarts,
        [model.declared_length for model in models],
        [model.position_limit for model in models],
    )


def _below(
    rows: Sequence[Row | CausalRow], above: Row | CausalRow, asked: str | None
) -> list[Row | CausalRow]:
    """The rows that a ceiling is set beside; it may be named among them, unmodified."""
    from freeatten_core.basics.errors import UsageError

    found = [row for row in rows if row.folder != above.folder or row.variant.modifiers]
    if not found:
        raise UsageError(
            f"--ceiling is {asked!r}, the only row; name one beside it that was trained at fewer "
            "tokens"
        )
    return found


def _request(
    load: Callable[[], list[Row | CausalRow]],
    len_: str,
    asked: str | None,
    text: str,
    ceiling: str | None,
    **rest: Any,
) -> Request:
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.comparison import Request
    from freeatten_core.measures.request import check_ceiling
    from freeatten_core.models.rows import load_own_rows

    rows = load()
    above = None if ceiling is None else load_own_rows([], [ceiling])[0]
    if above is not None:
        rows = _below(rows, above, ceiling)
    lengths = _lengths(len_, asked, rows)
    if above is not None:
        check_ceiling(above, rows, lengths)
        rows.append(above)
    return Request(
        rows=rows,
        ceiling=above,
        lengths=lengths,
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        **rest,
    )


def _run(request: Request, console: Console) -> Comparison:
    """Compare with a progress bar, and print each row's provisional losses as they come."""
    from freeatten_core.measures.comparison import compare as run

    from ..terminal.tables import provisional_line
    from ..terminal.watching import watched

    with watched(
        console, lambda entry, done, of: provisional_line(entry, request.lengths, done, of)
    ) as watch:
        return run(request, watch)


def _print(result: Mapping[str, Any], *, by_position: bool) -> None:
    from rich.console import Console, Group
    from rich.text import Text

    from ..terminal.ceiling import ceiling_view
    from ..terminal.chart import loss_chart, position_chart
    from ..terminal.tables import comparison_view

    console = Console()
    charts = [loss_chart(result, console.width)]
    if by_position:
        charts.append(position_chart(result, console.width))
    chart: RenderableType = Text.from_ansi("\n\n".join(charts))
    if "ceiling" in result:
        chart = Group(chart, Text(""), ceiling_view(result, console.width))
    view = comparison_view(result, console.width, chart=chart, by_position=by_position)
    console.print(view)


def _save_figure(result: Mapping[str, Any], path: Path, *, by_position: bool) -> None:
    from freeatten_core.figures.comparison import comparison_figure

    from ..exports import save_figure

    save_figure(marked(comparison_figure(result, by_position=by_position), result), path)


def _save_losses(done: Comparison, path: Path) -> None:
    import numpy as np

    from freeatten_core.basics.files import replacing

    arrays: dict[str, Any] = {}
    for name, losses in done.losses.items():
        arrays |= {f"{name}/{length}": table for length, table in losses.by_length.items()}
        arrays[f"{name}/restart"] = losses.restart
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _warn_trained_on(request: Request, console: Console) -> None:
    from freeatten_core.basics.files import expanded
    from freeatten_core.data.packages import trained_on
    from freeatten_core.models.catalogue import UnknownTextsError

    path = expanded(request.source)
    if not path.exists():
        return
    for row in request.rows:
        try:
            package = trained_on(path, row.model.packages())
        except UnknownTextsError as error:
            said = f"whether {row.source} was trained on {request.source} is not known: {error}"
        else:
            if package is None:
                continue
            said = (
                f"{request.source} belongs to {package}, which {row.source} was trained on; its "
                "loss there says little"
            )
        console.print(f"warning: {said}", style="yellow", markup=False, soft_wrap=True)
        return
