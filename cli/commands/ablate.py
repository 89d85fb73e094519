"""`freeatten ablate`: why the loss rises past the training length, and by which heads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..help import QUIET
from ..options import DEVICE, TEXT, command_line

if TYPE_CHECKING:
    from ..terminal.fitted import FittedTable

DEFAULT = "softmax,softmax-ls,lssa,lssar:p=15"
LENGTH_HELP = "Tokens of text: 16x the training length, or a number such as 8192."


def ablate(
    variants: Annotated[str | None, typer.Option(help="Shipped variants, with commas.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A folder, shipped name or hub name; repeatable.")
    ] = None,
    heads: Annotated[
        bool, typer.Option(help="Hide far keys from every head on its own too.")
    ] = True,
    len_: Annotated[str, typer.Option("--len", help=LENGTH_HELP)] = "16x",
    text: Annotated[str, typer.Option(help=TEXT)] = "stdlib",
    texts: Annotated[int, typer.Option(min=1, help="How many texts at most.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Which texts, and where in them.")] = 0,
    device: Annotated[str, typer.Option(help=DEVICE)] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write a line for everything undone, and every head.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the chart as one HTML file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the chart as PNG.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the chart as SVG.")] = None,
) -> None:
    """Undo one thing that is new past the training length, and see what becomes of the loss."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.lengths import tokens_of
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.ablation import AblateRequest
    from freeatten_core.measures.ablation import ablate as measure

    from ..exports import check_outputs, save_figure, save_lines
    from ..options import rows_of
    from ..outputs import deliver, refuse_failed, show_json
    from ..terminal.watching import watched

    check_outputs({".csv": csv, ".html": html, ".png": png, ".svg": svg})
    rows = rows_of(variants, checkpoint, DEFAULT)
    request = AblateRequest(
        rows=rows,
        length=tokens_of(len_, rows[0].checkpoint.config.train_length),
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        texts=texts,
        heads=heads,
        seed=seed,
        device=choose_device(device),
    )
    with watched(Console(stderr=True, quiet=quiet), _line) as watch:
        result = measure(request, watch)

    def draw(path: Path) -> None:
        from freeatten_core.figures.analysis import ablate_figure

        save_figure(ablate_figure(result), path)

    deliver(
        lambda: show_json(result) if as_json else _print(result),
        [
            *((path, draw) for path in (html, png, svg)),
            (csv, lambda path: save_lines(list(_csv_lines(result)), path)),
        ],
    )
    refuse_failed(result)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Δ with each thing undone in every head, then the change by hiding far keys from one head."""
    run = {key: result[key] for key in ("length", "texts", "seed", "device", "dtype")}
    run |= {f"text_{key}": result["text"][key] for key in ("source", "tokens", "sha256")}
    nothing = dict.fromkeys(("delta", "delta_low", "delta_high"))
    nothing |= dict.fromkeys(("change", "change_low", "change_high"))
    for row in result["variants"]:
        facts = {key: row[key] for key in ("variant", "checkpoint", "train_length")}
        for name, delta in row["delta"].items():
            low, high = row["delta_ci95"][name] or (None, None)
            found = {"delta": delta, "delta_low": low, "delta_high": high}
            yield facts | {"undone": name, "layer": None, "head": None} | nothing | found | run
        for head in row.get("heads", ()):
            low, high = head["change_ci95"] or (None, None)
            place = {"undone": "window", "layer": head["layer"], "head": head["head"]}
            found = {"change": head["change"], "change_low": low, "change_high": high}
            yield facts | place | nothing | found | run


def _line(entry: Mapping[str, Any], done: int, of: int) -> str:
    """A row so far."""
    from freeatten_core.results.ablation import UNDONE_TITLES
    from freeatten_core.results.format import signed

    found = "  ".join(
        f"{title}: {signed(entry['delta'][name])}" for name, title in UNDONE_TITLES.items()
    )
    state = "" if done == of else f"  (provisional: {done} of {of} texts)"
    return f"{entry['variant']}  Δ {found}{state}"


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.results.ablation import ablation_reading, ablation_texts
    from freeatten_core.results.format import troubles

    console = Console()
    console.print(_deltas(result))
    if "heads" in result["variants"][0]:
        console.print()
        console.print(_heads(result))
    console.print()
    console.print(Text(ablation_reading(result)))
    for line in troubles(result):
        console.print(Text(line, style="red"))
    console.print(Text(ablation_texts(result)))
    console.print(Text.assemble(("again: ", "dim"), result["command"], overflow="fold"))


def _deltas(result: Mapping[str, Any]) -> FittedTable:
    from freeatten_core.results.ablation import UNDONE_TITLES
    from freeatten_core.results.format import row_names, signed, with_half_width

    from ..terminal.fitted import Column, FittedTable

    rows = result["variants"]
    columns = [
        Column(
            title,
            [with_half_width(signed(row["delta"][key]), row["delta_ci95"][key]) for row in rows],
        )
        for key, title in UNDONE_TITLES.items()
    ]
    names = Column("", row_names(rows), left=True)
    return FittedTable([names], columns, title=f"Δ at {result['length']:,} tokens")


def _heads(result: Mapping[str, Any]) -> FittedTable:
    from freeatten_core.results.ablation import strongest_heads
    from freeatten_core.results.format import row_names, signed
    from freeatten_core.results.heads import HEADS_SHOWN, head_name

    from ..terminal.fitted import Column, FittedTable

    rows = result["variants"]
    cells = [
        [f"{head_name(head)} {signed(head['change'])}" for head in strongest_heads(row)]
        for row in rows
    ]
    shown = min(HEADS_SHOWN, *map(len, cells))
    columns = [Column(f"head {at + 1}", [row[at] for row in cells]) for at in range(shown)]
    return FittedTable(
        [Column("", row_names(rows), left=True)],
        columns,
        title="the heads from which hiding far keys lowers the loss most",
    )
