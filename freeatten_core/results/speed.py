"""How a benchmark is read: its panels, its numbers in words, its tables in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from .format import MISSING, Entry, Result, count
from .markdown import date_and_commit, table

__all__ = [
    "LATENCIES",
    "PASSES",
    "baseline",
    "decided_by_launches",
    "error_table",
    "facts",
    "length_tables",
    "machine",
    "on_gpu",
    "panels",
    "peer_names",
    "provenance",
    "size",
    "sizes",
    "speed_blocks",
    "summary",
    "three_digits",
    "times",
]

PASSES: Mapping[str, str] = {
    "forward": "forward",
    "backward": "backward",
    "both": "forward + backward",
    "short": "latency",
    "decode": "latency of one query",
}
LATENCIES = ("short", "decode")
"""What a caller waits for, launches and Python included."""
LAUNCHES = 0.5
"""The share of a latency from which on the launches decide it."""
SUMMARY_LENGTH = 8192
"""The length that the summary is of, where it was measured."""

Panel = tuple[str, int]
"""A pass and a head size."""


def panels(result: Result) -> dict[Panel, list[Entry]]:
    """The rows of every pass and head size, in the order of PASSES and of the result.

    A result of the CPU has one: the forward.
    """
    found: dict[Panel, list[Entry]] = {}
    for row in result["rows"]:
        panel = (row.get("pass_name", "forward"), row.get("dim", result["settings"].get("dim")))
        found.setdefault(panel, []).append(row)
    order = list(PASSES)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def peer_names(rows: Sequence[Entry]) -> list[str]:
    """Every peer of a panel once: in the order of the length that has most of them."""
    by_length: dict[int, list[str]] = {}
    for row in rows:
        by_length.setdefault(row["length"], []).append(row["peer"])
    return max(by_length.values(), key=len, default=[])


def baseline(result: Result) -> str:
    """The peer that ratios are to: the first."""
    return str(result["rows"][0]["peer"])


def on_gpu(result: Result) -> bool:
    return "threads" not in result


def size(result: Result, pass_name: str = "forward") -> str:
    """`batch 1`, or how many tokens a call holds when the batch follows from them; a latency is
    of one sequence then."""
    settings = result["settings"]
    if settings["batch"] is None and pass_name not in LATENCIES:
        return f"{count(settings['tokens'])} tokens a call"
    return f"batch {settings['batch'] or 1}"


def sizes(result: Result) -> str:
    """`size` of all passes: `16,384 tokens a call, latencies batch 1` where they differ."""
    names = [name for name, _ in panels(result)]
    waits = [size(result, name) for name in names if name in LATENCIES]
    work = [size(result, name) for name in names if name not in LATENCIES] or waits
    return work[0] if set(waits) <= {work[0]} else f"{work[0]}, latencies {waits[0]}"


def machine(result: Result) -> str:
    """Device and versions."""
    versions = result["versions"]
    parts = [result["device"]]
    if not on_gpu(result):
        parts.append(f"{result['threads']} threads")
    parts.append(f"torch {versions['torch']}")
    named = {
        "triton": "Triton",
        "gluon": "Hopper kernel (Gluon)",
        "cuda": "CUDA",
        "cudnn": "cuDNN",
    }
    for name, shown in named.items():
        if versions.get(name):
            parts.append(f"{shown} {versions[name]}")
    return ", ".join(parts)


def three_digits(value: float | None, most: int = 4) -> str:
    """`0.0951`, `1.52`, `76.3`, `1,234`; a dash for a number that is missing.

    Args:
        value: the number.
        most: how many digits behind the point at most.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(digits, 0), most)}f}"


def times(ratio: float | None) -> str:
    """`0.63×`, `1.42×`, `76.0×`."""
    return MISSING if ratio is None else f"{three_digits(ratio, 2)}×"


# Markdown


def speed_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of a stored result, by their names in the pages."""
    filled = {f"{name} provenance": provenance(result)}
    filled[f"{name} errors"] = error_table(result)
    filled[f"{name} summary"] = summary(result)
    for pass_name in dict.fromkeys(pass_name for pass_name, _ in panels(result)):
        cells = {"time": _wait_cell} if pass_name in LATENCIES else _CELLS
        for measure, cell in cells.items():
            filled[f"{name} {measure} {pass_name}"] = length_tables(result, pass_name, cell)
    return filled


def length_tables(result: Result, pass_name: str, cell: Callable[[Entry], str]) -> str:
    """One table a head size: peer × length."""
    parts = [
        f"Heads of {dim}:\n\n{_length_table(rows, cell)}"
        for (shown, dim), rows in panels(result).items()
        if shown == pass_name
    ]
    return "\n\n".join(parts)


def _length_table(rows: Sequence[Entry], cell: Callable[[Entry], str]) -> str:
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    cells = {(row["peer"], row["length"]): _cell(row, cell) for row in rows}
    lines = [
        [f"`{peer}`", *(cells.get((peer, length), "") for length in lengths)]
        for peer in peer_names(rows)
    ]
    return table(["", *map(count, lengths)], lines)


def _cell(row: Entry, cell: Callable[[Entry], str]) -> str:
    """A number, or why there is none; of an error its kind, the message is in the result."""
    note = re.sub(r"^failed: (\w+): .*", r"failed: \1", row["note"], flags=re.DOTALL)
    return note.replace("|", "/") or cell(row)


def _time_cell(row: Entry) -> str:
    ratio = "" if row["ratio"] is None else f" ({times(row['ratio'])})"
    return three_digits(row["ms"]) + ratio


def decided_by_launches(row: Entry) -> bool:
    """Whether a latency is at least half the same call's of next to no tokens."""
    floor, wait = row.get("floor_ms"), row["ms"]
    return floor is not None and wait is not None and floor >= LAUNCHES * wait


def _wait_cell(row: Entry) -> str:
    return _time_cell(row) + (", launches" if decided_by_launches(row) else "")


def _rate_cell(row: Entry) -> str:
    return three_digits(None if row["gflops"] is None else row["gflops"] / 1e3)


def _memory_cell(row: Entry) -> str:
    return three_digits(row["peak_mb"])


_CELLS: Mapping[str, Callable[[Entry], str]] = {
    "time": _time_cell,
    "throughput": _rate_cell,
    "memory": _memory_cell,
}


def error_table(result: Result) -> str:
    """The largest relative error of every peer over the lengths, by pass and head size."""
    found = panels(result)
    names = list(dict.fromkeys(name for rows in found.values() for name in peer_names(rows)))
    lines = [[f"`{name}`", *(_error(rows, name) for rows in found.values())] for name in names]
    return table(["", *map(_heading, found)], lines)


def _heading(panel: Panel) -> str:
    return f"{PASSES[panel[0]]}, heads of {panel[1]}"


def _error(rows: Sequence[Entry], peer: str) -> str:
    errors = [row["error"] for row in rows if row["peer"] == peer and row.get("error") is not None]
    return f"{max(errors):.1e}" if errors else MISSING


def summary(result: Result) -> str:
    """Every peer at one length: a sentence and a table."""
    lengths = result["settings"]["lengths"]
    length = SUMMARY_LENGTH if SUMMARY_LENGTH in lengths else max(lengths)
    shown = {
        panel: {row["peer"]: _cell(row, _time_cell) for row in rows if row["length"] == length}
        for panel, rows in panels(result).items()
        if panel[0] in ("forward", "both")
    }
    names = list(dict.fromkeys(name for cells in shown.values() for name in cells))
    lines = [[f"`{name}`", *(cells.get(name, "") for cells in shown.values())] for name in names]
    settings = result["settings"]
    sentence = (
        f"{count(length)} tokens, causal, {settings['dtype']}, {settings['heads']} heads, "
        f"{size(result)}, on {result['device']}: milliseconds, and the ratio to "
        f"`{baseline(result)}` in the same run."
    )
    return f"{sentence}\n\n{table(['', *map(_heading, shown)], lines)}"


def provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    settings = result["settings"]
    return (
        f"Causal, {settings['dtype']}, {settings['heads']} heads, {sizes(result)}, medians of at "
        f"most {settings['repeat']} calls; {machine(result)}, Python "
        f"{result['versions']['python']}, {date_and_commit(result)}, "
        f"{result['seconds']:.0f} s: `{result['command']}`"
    )


def facts(row: Entry, baseline: str) -> Iterator[str]:
    """What is known of a peer at one length, a line each."""
    yield f"{row['peer']}, {count(row['length'])} tokens"
    yield f"{three_digits(row['ms'])} ms, {times(row['ratio'])} {baseline}"
    yield f"{_rate_cell(row)} TFLOP/s, {_memory_cell(row)} MB"
