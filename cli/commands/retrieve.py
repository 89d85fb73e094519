"""`freeatten retrieve`: who finds again what was read long ago."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    TEXT,
    AsJson,
    Checkpoints,
    Device,
    Html,
    Png,
    Quiet,
    Svg,
    Variants,
    check_choice,
    command_line,
)
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import torch
    from rich.console import Console

    from freeatten_core.basics.distributed import Ranks
    from freeatten_core.models.rows import CausalRow, Row

__all__ = ["retrieve"]

COPY_ROWS = "softmax,softmax+yarn,softmax-ls,lssa,lssar:p=15,stick-breaking:output=gated"
COPY_SAMPLES, TASK_SAMPLES = 6, 32
MOST_DECLARED = 8192
"""Tokens of the longest sequence of models of others, unless asked otherwise."""

Totals = Annotated[
    str | None,
    typer.Option(
        "--len",
        help="Tokens in all: 16x (½x, 1x, 2x, … up to it; the default), or 256,8192. Of models "
        "of others by default up to what they declare, 8192 at most.",
    ),
]
TaskName = Annotated[
    str,
    typer.Option(
        help="copy: a block of text once more, after a gap of other text. By small models "
        "trained to answer: recall (the value of a key), mqar (in two tokens), forgetting "
        "(the last value of a key), passkey, flip-flop."
    ),
]


def retrieve(
    task: TaskName = "copy",
    len_: Totals = None,
    variants: Variants = None,
    checkpoint: Checkpoints = None,
    text: Annotated[str | None, typer.Option(help=f"For copy: {TEXT} By default stdlib.")] = None,
    block: Annotated[
        int | None,
        typer.Option(min=2, help="For copy: tokens of the block; an eighth of 1x by default."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Sequences at every length; {COPY_SAMPLES} at most for copy, "
            f"{TASK_SAMPLES} for other tasks by default.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which sequences.")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line a variant and length.")] = None,
) -> None:
    """Copying across a gap of text, or a task that small models were trained on, by length."""
    from rich.console import Console

    from freeatten_core.data.tasks.table import RETRIEVED

    from ..ranks import joined

    check_choice("task", task, ("copy", *RETRIEVED))
    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    if task != "copy":
        _refuse_for_task(task, {"--text": text, "--block": block})
    with joined(device) as (ranks, chosen):
        common: dict[str, Any] = {
            "len_": len_,
            "variants": variants,
            "checkpoints": checkpoint,
            "samples": samples,
            "seed": seed,
            "device": chosen,
            "ranks": ranks,
            "console": Console(stderr=True, quiet=quiet or not ranks.writes),
        }
        measure = (
            partial(_copy, text=text or "stdlib", block=block, **common)
            if task == "copy"
            else partial(_task, task, **common)
        )
        outputs.give(measure, _print, _figure, _csv_lines, writes=ranks.writes)


def _copy(
    *,
    len_: str | None,
    variants: str | None,
    checkpoints: list[str] | None,
    text: str,
    block: int | None,
    samples: int | None,
    seed: int,
    device: torch.device,
    ranks: Ranks,
    console: Console,
) -> dict[str, Any]:
    from freeatten_core.data.documents import evaluation_documents
    from freeatten_core.measures.copying import CopyRequest, copy_retrieval, default_block

    from ..options import any_rows_of
    from ..terminal.retrieval import retrieval_line
    from ..terminal.watching import watched

    rows = any_rows_of(variants, checkpoints, COPY_ROWS)
    trained = [row.restart_length for row in rows]
    request = CopyRequest(
        rows=rows,
        lengths=_totals(len_, rows),
        block=block or default_block(trained),
        documents=evaluation_documents(text, sys.stdin),
        source=text,
        command=command_line(),
        samples=samples or COPY_SAMPLES,
        seed=seed,
        device=device,
        ranks=ranks,
    )
    with watched(console, retrieval_line("gain", request.lengths)) as watch:
        return copy_retrieval(request, watch)


def _totals(asked: str | None, rows: Sequence[Row | CausalRow]) -> list[int]:
    """Lengths of the sequences, of models of others in tokens alone."""
    from freeatten_core.basics.lengths import parse_totals, power_below, refuse_times

    restarts = [row.restart_length for row in rows]
    if all(row.model.train_length is not None for row in rows):
        return parse_totals(asked or "16x", restarts)
    if asked is not None:
        refuse_times(asked)
        return parse_totals(asked, restarts)
    declared = [row.model.declared_length or MOST_DECLARED for row in rows]
    return parse_totals(str(power_below(min(MOST_DECLARED, *declared))), restarts)


def _task(
    task: str,
    *,
    len_: str | None,
    variants: str | None,
    checkpoints: list[str] | None,
    samples: int | None,
    seed: int,
    device: torch.device,
    ranks: Ranks,
    console: Console,
) -> dict[str, Any]:
    from freeatten_core.basics.lengths import parse_totals
    from freeatten_core.measures.tasks import TaskRequest, load_task_rows, measure_task
    from freeatten_core.variants.variant import Variant

    from ..terminal.retrieval import retrieval_line
    from ..terminal.watching import watched

    wanted = None if variants is None else Variant.parse_list(variants)
    rows = load_task_rows(task, wanted, checkpoints or [])
    trained = [row.checkpoint.config.train_length for row in rows]
    request = TaskRequest(
        rows=rows,
        lengths=parse_totals(len_ or "16x", trained),
        command=command_line(),
        samples=samples or TASK_SAMPLES,
        seed=seed,
        device=device,
        ranks=ranks,
    )
    with watched(console, retrieval_line("accuracy", request.lengths)) as watch:
        return measure_task(request, watch)


def _refuse_for_task(task: str, given: Mapping[str, Any]) -> None:
    from freeatten_core.basics.errors import UsageError

    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} is for --task copy; {task} makes its own sequences")


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from ..terminal.chart import retrieval_chart
    from ..terminal.retrieval import retrieval_view

    console = Console()
    chart = Text.from_ansi(retrieval_chart(result, console.width))
    console.print(retrieval_view(result, console.width, chart=chart))


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.retrieval import retrieval_figure

    return retrieval_figure(result)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    measured = ("gain", "loss", "control") if result["task"] == "copy" else ("accuracy",)
    of_run = {key: result[key] for key in ("samples", "seed", "device", "dtype")}
    known = ("variant", "checkpoint", "train_length", "restart_length", "declared_length")
    named = [key for key in known if any(key in row for row in result["variants"])]
    for row in result["variants"]:
        for index, length in enumerate(result["lengths"]):
            line = {key: row.get(key) for key in named}
            line["length"] = length
            for key in measured:
                low, high = row[f"{key}_ci95"][index]
                line |= {key: row[key][index], f"{key}_low": low, f"{key}_high": high}
            line["effective_length"] = row["effective_length"]
            yield line | of_run
