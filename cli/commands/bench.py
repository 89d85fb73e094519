"""`freeatten bench`: speed and memory of the attention kernels on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import AsJson, Device, Html, Png, Quiet, Svg, command_line
from ..outputs import Outputs

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.table import Table

    from freeatten_core.bench.gpu import GpuSettings
    from freeatten_core.bench.rounds import Report

__all__ = ["bench", "gpu_settings", "tables"]

ON_GPU_ONLY = ("dtype", "peers", "compiled_lengths")
Passes = Annotated[
    str | None,
    typer.Option(
        help="forward, short (a caller's wait at 128 to 1,024 tokens), decode (at one query on "
        "32,768 keys), and on a GPU backward and both, with commas (all)."
    ),
]
NumberType = Annotated[
    str | None, typer.Option(help="GPU: bfloat16, float16 or float32 (bfloat16).")
]
Peers = Annotated[
    str | None,
    typer.Option(help="GPU: cudnn, flex, compiled, naive, with commas, or none (all)."),
]
CompiledLengths = Annotated[
    str | None,
    typer.Option(
        help="GPU: lengths of flex and compiled, which compile for seconds a shape, or none "
        "(up to three: all; more: every second)."
    ),
]


def bench(
    device: Device = "auto",
    lengths: Annotated[
        str | None,
        typer.Option(help="Tokens, with commas (2048,8192; GPU: 1024,2048,… up to 32768)."),
    ] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads (8; GPU: 16).")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Sequences (1; GPU: as many as make 16,384 tokens).")
    ] = None,
    dim: Annotated[
        str | None,
        typer.Option(help="Head size (64); on a GPU several, with commas (64,128)."),
    ] = None,
    variants: Annotated[
        str, typer.Option(help="Variants, with commas; the dense forms are of the first.")
    ] = "lssar:p=15,lssa,softmax",
    repeat: Annotated[
        int | None, typer.Option(help="Repetitions; the median counts (5; GPU: 20).")
    ] = None,
    passes: Passes = None,
    dtype: NumberType = None,
    peers: Peers = None,
    compiled_lengths: CompiledLengths = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier --json: says whose ratio to PyTorch got worse since."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Write a line for everything timed.")] = None,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
) -> None:
    """Time and memory of each attention against PyTorch's softmax, in the same run."""
    outputs = Outputs(as_json, html, png, svg, csv)
    outputs.check()
    before = None if against is None else _earlier(against, device)
    measure = partial(
        _measured,
        device,
        quiet,
        before,
        lengths=lengths,
        heads=heads,
        batch=batch,
        dim=dim,
        variants=variants,
        repeat=repeat,
        passes=passes,
        dtype=dtype,
        peers=peers,
        compiled_lengths=compiled_lengths,
    )
    outputs.give(measure, _print, _figure, _csv_lines)


def _earlier(path: Path, device: str) -> dict[str, Any]:
    from freeatten_core.basics.devices import choose_device
    from freeatten_core.results.speed_against import earlier

    return earlier(path, choose_device(device).type)


def _measured(
    device: str, quiet: bool, before: Mapping[str, Any] | None, **asked: Any
) -> dict[str, Any]:
    """What the benchmark of a device gives, with the options that were given; also where a signal
    ended it, beside what an earlier one gave."""
    from rich.console import Console

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.measures.compared import InterruptedRows

    given = {name: value for name, value in asked.items() if value is not None}
    measure = _on_gpu if choose_device(device).type == "cuda" else _on_cpu
    try:
        with Console(stderr=True, quiet=quiet).status("starting") as status:
            return _beside(before, measure(given, status.update))
    except InterruptedRows as stopped:
        _beside(before, stopped.result)
        raise


def _beside(before: Mapping[str, Any] | None, result: dict[str, Any]) -> dict[str, Any]:
    """The result, with what changed since an earlier one entered."""
    from freeatten_core.results.speed_against import changes, changes_json

    if before is not None:
        result["against"] = changes_json(before, changes(before, result))
    return result


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    run = {key: result["settings"][key] for key in ("heads", "dtype")}
    run |= {"device": result["device"], "torch": result["versions"]["torch"]}
    names = dict.fromkeys(name for row in result["rows"] for name in row)
    for row in result["rows"]:
        yield {name: row.get(name) for name in names} | run


def _on_cpu(given: dict[str, Any], report: Report) -> dict[str, Any]:
    from freeatten_core.basics.checks import parse_counts
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.bench.cpu import CpuSettings, benchmark

    for name in ON_GPU_ONLY:
        if name in given:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for a GPU; on the CPU float32 forwards are timed")
    if "lengths" in given:
        given["lengths"] = parse_counts(given["lengths"])
    if "dim" in given:
        dims = parse_counts(given["dim"], "dim")
        if len(dims) != 1:
            raise UsageError(f"dim is {given['dim']!r}; on the CPU it is one head size, such as 64")
        (given["dim"],) = dims
    if "passes" in given:
        given["passes"] = _names(given["passes"])
    return benchmark(CpuSettings(**given), command=command_line(), report=report)


def _on_gpu(given: dict[str, Any], report: Report) -> dict[str, Any]:
    from freeatten_core.bench.gpu import CudaMeter, gpu_benchmark

    settings = gpu_settings(given)
    return gpu_benchmark(settings, CudaMeter(), command=command_line(), report=report)


def gpu_settings(given: Mapping[str, Any]) -> GpuSettings:
    """The settings of a run on a GPU from the options that were given, as text where they list."""
    from freeatten_core.basics.checks import parse_counts
    from freeatten_core.bench.gpu import GpuSettings

    settings = {name: given[name] for name in given if name not in ("dim", "compiled_lengths")}
    if "lengths" in given:
        settings["lengths"] = parse_counts(given["lengths"])
    if "dim" in given:
        settings["dims"] = parse_counts(given["dim"], "dim")
    if "compiled_lengths" in given:
        none = given["compiled_lengths"].strip() == "none"
        settings["compiled_lengths"] = (
            () if none else parse_counts(given["compiled_lengths"], "compiled-lengths")
        )
    for name in ("passes", "peers"):
        if name in given:
            settings[name] = _names(given[name])
    return GpuSettings(**settings)


def _names(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return () if names == ["none"] else tuple(dict.fromkeys(names))


def _figure(result: Mapping[str, Any]) -> go.Figure:
    from freeatten_core.figures.speed import speed_figure

    return speed_figure(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    from freeatten_core.results.format import partial_text

    for view in tables(result):
        Console().print(view, end="\n\n")
    if said := partial_text(result):
        Console().print(said)
    if "against" in result:
        _print_changes(result)


def _print_changes(result: Mapping[str, Any]) -> None:
    """What moved, the worst first, and a sentence."""
    from rich.console import Console
    from rich.table import Table

    from freeatten_core.results.speed import times
    from freeatten_core.results.speed_against import changes_sentence, devices_note, listed

    against = result["against"]
    found = listed(against)
    since = " ".join(str(against[name]) for name in ("date", "commit") if against.get(name))
    view = Table(title=f"Ratio to PyTorch, {since} and now".strip(), box=None, pad_edge=False)
    for heading in ("", "pass", "head", "tokens", "then", "now", ""):
        view.add_column(heading, justify="left" if heading in ("", "pass") else "right")
    for each in found:
        if each.slower or each.faster:
            word = "slower" if each.slower else "faster"
            view.add_row(
                each.peer, each.pass_name, str(each.dim), f"{each.length:,}",
                times(each.before), times(each.after), word,
            )  # fmt: skip
    if view.row_count:
        Console().print(view)
    if note := devices_note(result):
        Console().print(note, markup=False, highlight=False)
    Console().print(changes_sentence(found))


# Tables


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """One table a pass and head size."""
    from freeatten_core.results.speed import LATENCIES, PASSES, machine, panels, size

    settings = result["settings"]
    for (pass_name, dim), rows in panels(result).items():
        title = (
            f"Causal attention {PASSES[pass_name]}, {settings['dtype']}, "
            f"{size(result, pass_name)}, {settings['heads']} heads of {dim}\n{machine(result)}"
        )
        yield (_wait_table if pass_name in LATENCIES else _table)(title, result, rows)


Rows = Sequence[Mapping[str, Any]]


def _table(title: str, result: Mapping[str, Any], rows: Rows) -> Table:
    """One line a peer and length; what could not be measured says why."""
    from freeatten_core.results.speed import baseline, on_gpu, three_digits

    unit, scale, most = ("TFLOP/s", 1e-3, "at most ") if on_gpu(result) else ("GFLOP/s", 1.0, "")
    caption = (
        f"ms: median of {most}{result['settings']['repeat']} · {unit}: nominal · "
        f"ratio: to {baseline(result)} in this run · MB: peak above the inputs"
    )

    def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
        return (
            three_digits(row["ms"]),
            three_digits(None if row["gflops"] is None else row["gflops"] * scale),
            three_digits(row["ratio"], 2),
            three_digits(row["peak_mb"]),
            row["note"],
        )

    return _by_length(title, caption, ("ms", unit, "ratio", "MB"), rows, cells)


def _wait_table(title: str, result: Mapping[str, Any], rows: Rows) -> Table:
    """As `_table`, of what a caller waits for; says where the launches decide it."""
    from freeatten_core.results.speed import baseline, decided_by_launches, three_digits

    caption = (
        f"ms: what the caller waits, median of {result['settings']['repeat']} · ratio: to "
        f"{baseline(result)} in this run · floor: ms of 16 tokens · launches: it is half of the "
        "ms or more"
    )

    def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
        said = row["note"] or ("launches" if decided_by_launches(row) else "")
        times = (three_digits(row["ms"]), three_digits(row["ratio"], 2))
        return *times, three_digits(row["floor_ms"]), said

    return _by_length(title, caption, ("ms", "ratio", "floor"), rows, cells)


def _by_length(
    title: str,
    caption: str,
    headings: Sequence[str],
    rows: Rows,
    cells: Callable[[Mapping[str, Any]], tuple[str, ...]],
) -> Table:
    """Length, peer, what `cells` gives under the headings, and a note; lengths set apart."""
    from rich.table import Table

    view = Table(title=title, caption=caption, box=None, pad_edge=False)
    view.add_column("tokens", justify="right")
    view.add_column("", no_wrap=True)
    for heading in headings:
        view.add_column(heading, justify="right", no_wrap=True)
    view.add_column("")
    previous = None
    for row in rows:
        first = row["length"] != previous
        previous = row["length"]
        if first and view.row_count:
            view.add_row()
        view.add_row(f"{row['length']:,}" if first else "", row["peer"], *cells(row))
    return view
