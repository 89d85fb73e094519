"""`freeatten map`: where a head looks, from a whole text down to single tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from ..options import (
    AsJson,
    Device,
    Head,
    Layer,
    LengthOfFour,
    Quiet,
    SeedOfText,
    TextSource,
    any_rows_of,
    captures,
    check_choice,
    command_line,
    layer_of,
    length_of,
)
from ..outputs import deliver, show_json

if TYPE_CHECKING:
    from rich.console import Console

    from freeatten_core.analysis import AttentionMap, Capture, Region
    from freeatten_core.analysis.map.region import Pool
    from freeatten_core.models.rows import CausalRow, Row

__all__ = ["attention_map"]

NOT_MAP_LINES = 8
"""Lines of the window that title, axes and command take."""


def attention_map(
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A shipped name, folder or hub name; with --html alone can be repeated."),
    ] = None,
    layer: Layer = None,
    head: Head = 0,
    query: Annotated[str | None, typer.Option(help="Queries start:stop; all by default.")] = None,
    key: Annotated[str | None, typer.Option(help="Keys start:stop; all by default.")] = None,
    pool: Annotated[str, typer.Option(help="max keeps needles visible; mean.")] = "max",
    len_: LengthOfFour = None,
    text: TextSource = "stdlib",
    seed: SeedOfText = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
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
    from freeatten_core.analysis import AttentionMap
    from freeatten_core.basics.errors import ContentError

    from ..exports import check_outputs

    check_outputs({".html": html, ".png": png, ".svg": svg, ".csv": csv_file})
    _check_pool(pool)
    check_choice("theme", theme, ("light", "dark"))
    of_one = {"--json": as_json or None, "--png": png, "--svg": svg, "--csv": csv_file}
    _check_many(checkpoint or [], html, of_one)
    rows = any_rows_of(None, checkpoint or ["lssar-p15"], "")
    length = length_of(len_, rows, "4x")
    spans = _spans(query, key, length)
    layer = layer_of(layer, rows)
    found, name, failed = _captured(
        rows, text=text, length=length, seed=seed, device=device, layers=[layer], quiet=quiet
    )
    maps = [AttentionMap.of(capture, layer, head, pool=cast("Pool", pool)) for capture in found]
    shown = _Shown(maps, found, failed, name, f"layer {layer}, head {head}", spans, cells, theme)
    deliver(
        lambda: show_json(shown.result()) if as_json else shown.print(),
        [
            (html, shown.save_page),
            (png, shown.save_figure),
            (svg, shown.save_figure),
            (csv_file, shown.save_csv),
        ],
    )
    if failed:
        raise ContentError("\n".join(failed))


def _captured(
    rows: Sequence[Row | CausalRow], **options: Any
) -> tuple[list[Capture], str, list[str]]:
    """As `captures`, and a line on every row that failed beside others: its name and the reason."""
    from freeatten_core.results.format import row_names

    failed: list[str] = []
    names = row_names([{"variant": row.name, "checkpoint": row.source} for row in rows])

    def fail(index: int, reason: str) -> None:
        failed.append(f"{names[index]}: failed: {reason}")

    return *captures(rows, **options, fail=fail), failed


@dataclass(frozen=True)
class _Shown:
    """Maps of one head, and what of them is shown."""

    maps: Sequence[AttentionMap]
    captures: Sequence[Capture]
    failed: Sequence[str]
    """On models that have none, a line each."""
    text: str
    """Its name."""
    where: str
    """Layer and head."""
    spans: tuple[tuple[int, int], tuple[int, int]]
    """Queries and keys, from the first to before the second."""
    cells: int
    theme: str

    def region(self, **cells: int) -> Region:
        return self.maps[0].region(*self.spans[0], *self.spans[1], **cells)

    def print(self) -> None:
        from rich.console import Console
        from rich.text import Text

        from ..terminal.tables import HURTS

        console = Console()
        for each, capture in zip(self.maps, self.captures, strict=True):
            _print(console, each, capture, self.spans, self.where, self.text)
        for line in self.failed:
            console.print(Text(line, style=HURTS))
        console.print(Text.assemble(("again: ", "dim"), command_line(), overflow="fold"))

    def result(self) -> dict[str, Any]:
        """What `--json` prints, of the first map."""
        return _result(self.region(), self.captures[0])

    def save_figure(self, path: Path) -> None:
        from freeatten_core.figures.map import map_figure

        from ..exports import save_figure

        first = self.captures[0]
        figure = map_figure(
            self.region(cells=self.cells),
            title=f"{first.label}, {self.where}",
            about=f"{first.length:,} tokens of {self.text}",
            train_length=first.train_length,
            theme=cast(Any, self.theme),
        )
        save_figure(figure, path)

    def save_csv(self, path: Path) -> None:
        from freeatten_core.basics.files import replacing

        region = self.region(cells=self.cells)
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as to:
            region.write_csv(to)

    def save_page(self, path: Path) -> None:
        from freeatten_core.mapview import HeadMap, write_page
        from freeatten_core.results.format import row_names

        first = self.captures[0]
        names = row_names(
            [{"variant": each.label, "checkpoint": each.name} for each in self.captures]
        )
        items = [
            HeadMap(name, each, head=self.where, train_length=capture.train_length)
            for name, each, capture in zip(names, self.maps, self.captures, strict=True)
        ]
        write_page(
            items,
            path,
            f"{', '.join(item.name for item in items)}: {self.where}",
            tokens=first.labels(0, first.length),
            about="; ".join([f"{first.length:,} tokens of {self.text}", *self.failed]),
            command=command_line(),
            difference=(0, 1) if len(items) > 1 else None,
        )


def _check_pool(pool: str) -> None:
    from freeatten_core.analysis.map.region import Pool
    from freeatten_core.basics.errors import UsageError

    if pool not in get_args(Pool):
        raise UsageError(f"--pool is {pool!r}; it can be {' or '.join(get_args(Pool))}")


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
            f"{capture.label}, {where}: queries {q0:,}–{q1 - 1:,} (down), keys {k0:,}–{k1 - 1:,} "
            f"(across) of {name}, {capture.length:,} tokens"
        )
    )
    rows = max(4, console.height - NOT_MAP_LINES)
    if q1 - q0 <= rows and (k1 - k0) * 2 <= console.width - 14:
        region = attention.region(q0, q1, k0, k1, cells=max(q1 - q0, k1 - k0))
        labels = capture.labels(q0, q1), capture.labels(k0, k1)
        console.print(token_grid(region, labels, color=color))
    else:
        cells = min(console.width - 2, 2 * rows)
        region = attention.region(q0, q1, k0, k1, cells=cells - 1)
        console.print(picture(region, color=color))
        how = "the largest weight" if region.pool == "max" else "the mean weight"
        console.print(f"a cell is {how} of {region.cell} × {region.cell} tokens, log scale")
    strongest = attention.strongest(q1 - 1, 5, keys=(k0, k1))
    labels_of = {key: capture.labels(key, key + 1)[0] for key, _ in strongest}
    listed = ", ".join(f"{labels_of[key]!r} at {key:,}: {weight:.3g}" for key, weight in strongest)
    query = capture.labels(q1 - 1, q1)[0]
    console.print(Text(f"strongest for {query!r} at {q1 - 1:,}: {listed or 'no weight above 0'}"))


def _result(region: Region, capture: Capture) -> dict[str, Any]:
    return {
        "schema": 1,
        "variant": capture.label,
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
