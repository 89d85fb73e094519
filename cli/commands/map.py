"""`freeatten map`: where a head looks, from a whole text down to single tokens."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from ..help import QUIET
from ..options import (
    DEVICE,
    HEAD_HELP,
    LAYER_HELP,
    LENGTH_HELP,
    TEXT,
    captures,
    check_choice,
    command_line,
    layer_of,
    rows_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from freeatten_core.analysis import AttentionMap, Capture, Region

NOT_MAP_LINES = 8
"""Lines of the window that title, axes and command take."""


def attention_map(
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A shipped name, folder or hub name; with --html alone can be repeated."),
    ] = None,
    layer: Annotated[int | None, typer.Option(min=0, help=LAYER_HELP)] = None,
    head: Annotated[int, typer.Option(min=0, help=HEAD_HELP)] = 0,
    query: Annotated[str | None, typer.Option(help="Queries start:stop; all by default.")] = None,
    key: Annotated[str | None, typer.Option(help="Keys start:stop; all by default.")] = None,
    pool: Annotated[str, typer.Option(help="max keeps needles visible; mean.")] = "max",
    len_: Annotated[str, typer.Option("--len", help=LENGTH_HELP)] = "4x",
    text: Annotated[str, typer.Option(help=TEXT)] = "stdlib",
    seed: Annotated[int, typer.Option(min=0, help="Which text, and where in it.")] = 0,
    device: Annotated[str, typer.Option(help=DEVICE)] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="One page that zooms to single tokens, no server.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the region as PNG.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the region as SVG.")] = None,
    cells: Annotated[
        int, typer.Option(min=8, max=2048, help="Of PNG, SVG and CSV: at most so many a side.")
    ] = 512,
    theme: Annotated[str, typer.Option(help="Of PNG and SVG: light or dark.")] = "light",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the cells here.")] = None,
) -> None:
    """A head's attention map that fits the window, or one page that zooms to single tokens."""
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.analysis import AttentionMap
    from freeatten_core.analysis.map.region import Pool
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.basics.lengths import tokens_of

    from ..exports import check_outputs
    from ..outputs import deliver, show_json

    check_outputs({".html": html, ".png": png, ".svg": svg, ".csv": csv_file})
    if pool not in get_args(Pool):
        raise UsageError(f"--pool is {pool!r}; it can be {' or '.join(get_args(Pool))}")
    check_choice("theme", theme, ("light", "dark"))
    of_one = {"--json": as_json or None, "--png": png, "--svg": svg, "--csv": csv_file}
    _check_many(checkpoint or [], html, of_one)
    rows = rows_of(None, checkpoint or ["lssar-p15"], "")
    spans = _spans(query, key, tokens_of(len_, rows[0].checkpoint.config.train_length))
    layer = layer_of(layer, rows)
    found, name = captures(
        rows, text=text, length=len_, seed=seed, device=device, layers=[layer], quiet=quiet
    )
    maps = [AttentionMap.of(capture, layer, head, pool=cast(Pool, pool)) for capture in found]
    where = f"layer {layer}, head {head}"

    def show() -> None:
        if as_json:
            show_json(_result(maps[0].region(*spans[0], *spans[1]), found[0]))
            return
        console = Console()
        for each, capture in zip(maps, found, strict=True):
            _print(console, each, capture, spans, where, name)
        console.print(Text.assemble(("again: ", "dim"), command_line(), overflow="fold"))

    def draw(path: Path) -> None:
        from freeatten_core.figures.map import map_figure

        from ..exports import save_figure

        figure = map_figure(
            maps[0].region(*spans[0], *spans[1], cells=cells),
            title=f"{found[0].variant}, {where}",
            about=f"{found[0].length:,} tokens of {name}",
            train_length=found[0].train_length,
            theme=cast(Any, theme),
        )
        save_figure(figure, path)

    deliver(
        show,
        [
            (html, lambda path: _save_page(maps, found, path, where, name)),
            (png, draw),
            (svg, draw),
            (
                csv_file,
                lambda path: _save_csv(maps[0].region(*spans[0], *spans[1], cells=cells), path),
            ),
        ],
    )


def _check_many(
    checkpoints: Sequence[str], html: Path | None, of_one: Mapping[str, object]
) -> None:
    """Whether several maps can go where they are asked to."""
    from freeatten_core.basics.errors import UsageError

    if len(checkpoints) < 2:
        return
    alone = [option for option, given in of_one.items() if given is not None]
    if html is None or alone:
        what = f"{alone[0]} holds one map" if alone else "without --html one map is shown"
        raise UsageError(
            f"--checkpoint is given {len(checkpoints)} times, and {what}; name one checkpoint, or "
            "write all of them with --html alone"
        )


def _spans(
    query: str | None, key: str | None, length: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Queries and keys to show.

    Raises:
        UsageError: as `_span`, or no query of them sees any key of them.
    """
    from freeatten_core.basics.errors import UsageError

    queries, keys = _span("--query", query, length), _span("--key", key, length)
    if keys[0] >= queries[1]:
        raise UsageError(
            f"--key is {key!r} and --query {'all' if query is None else repr(query)}: a query sees "
            f"keys up to its own position, and the last one here is at {queries[1] - 1}"
        )
    return queries, keys


def _span(option: str, text: str | None, length: int) -> tuple[int, int]:
    from freeatten_core.basics.errors import UsageError

    if text is None:
        return 0, length
    start, colon, stop = text.partition(":")
    try:
        span = int(start or 0), int(stop or length)
    except ValueError:
        span = (0, 0)
    if not colon or not 0 <= span[0] < span[1] <= length:
        raise UsageError(
            f"{option} is {text!r}; write start:stop with 0 <= start < stop <= {length}"
        )
    return span


def _print(
    console: Console,
    attention: AttentionMap,
    capture: Capture,
    spans: tuple[tuple[int, int], tuple[int, int]],
    where: str,
    name: str,
) -> None:
    from rich.text import Text

    from ..terminal.map_cells import picture, token_grid

    (q0, q1), (k0, k1) = spans
    color = console.color_system is not None and not console.no_color
    console.print(
        Text(
            f"{capture.variant}, {where}: queries {q0:,}–{q1 - 1:,} (down), keys {k0:,}–{k1 - 1:,} "
            f"(across) of {name}, {capture.length:,} tokens"
        )
    )
    rows = max(4, console.height - NOT_MAP_LINES)
    if q1 - q0 <= rows and (k1 - k0) * 2 <= console.width - 14:
        weights = attention.weights(q0, q1, k0, k1)
        labels = capture.labels(q0, q1), capture.labels(k0, k1)
        console.print(token_grid(weights.tolist(), labels, (q0, k0), color=color))
    else:
        cells = min(console.width - 2, 2 * rows)
        region = attention.region(q0, q1, k0, k1, cells=cells - 1)
        console.print(picture(region, color=color))
        how = "the largest weight" if region.pool == "max" else "the mean weight"
        console.print(f"a cell is {how} of {region.cell} × {region.cell} tokens, log scale")
    strongest = attention.strongest(q1 - 1, 5, keys=(k0, k1))
    labels_of = {key: capture.labels(key, key + 1)[0] for key, _ in strongest}
    listed = ", ".join(f"{labels_of[key]!r} at {key:,}: {weight:.3g}" for key, weight in strongest)
    own = capture.labels(q1 - 1, q1)[0]
    console.print(Text(f"strongest for {own!r} at {q1 - 1:,}: {listed or 'no weight above 0'}"))


def _result(region: Region, capture: Capture) -> dict[str, Any]:
    return {
        "schema": 1,
        "variant": str(capture.variant),
        "checkpoint": capture.name,
        "length": capture.length,
        "command": command_line(),
        "query_start": region.query_start,
        "key_start": region.key_start,
        "cell": region.cell,
        "pool": region.pool,
        "exact": region.exact,
        "weights": [[float(f"{value:.4g}") for value in row] for row in region.values().tolist()],
    }


def _save_page(
    maps: list[AttentionMap], found: list[Capture], path: Path, where: str, name: str
) -> None:
    from freeatten_core.mapview import HeadMap, write_page
    from freeatten_core.results.format import row_names

    names = row_names([{"variant": str(each.variant), "checkpoint": each.name} for each in found])
    items = [
        HeadMap(shown, each, head=where, train_length=capture.train_length)
        for shown, each, capture in zip(names, maps, found, strict=True)
    ]
    difference = (0, 1) if len(items) > 1 else None
    write_page(
        items,
        path,
        f"{', '.join(item.name for item in items)}: {where}",
        tokens=found[0].labels(0, found[0].length),
        about=f"{found[0].length:,} tokens of {name}",
        command=command_line(),
        difference=difference,
    )


def _save_csv(region: Region, path: Path) -> None:
    from freeatten_core.basics.files import replacing

    queries, keys = region.query_edges(), region.key_edges()
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "key", "cell", "weight"])
        for query, row in zip(queries[:-1].tolist(), region.values().tolist(), strict=True):
            for key, weight in zip(keys[:-1].tolist(), row, strict=True):
                if key <= query + region.cell:
                    writer.writerow([query, key, region.cell, f"{weight:.6g}"])
