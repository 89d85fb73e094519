"""Two benchmarks of one machine's kind, by the ratios that each has to its own baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from freeatten_core.basics.errors import UsageError, reason_of

from .format import Entry, Result
from .speed import baseline, on_gpu, times

__all__ = [
    "NOISE",
    "Change",
    "changes",
    "changes_json",
    "changes_sentence",
    "devices_note",
    "earlier",
    "listed",
]

NOISE = 0.05
"""A ratio that moved by less says nothing: two runs of one commit differ by up to 4 % on an H200
and by more on a CPU that others use."""

CALL = ("dtype", "heads", "batch", "tokens")
"""Settings of every call of a run."""


@dataclass(frozen=True)
class Change:
    """One cell of both benchmarks."""

    peer: str
    pass_name: str
    dim: int
    length: int
    before: float
    after: float

    @property
    def factor(self) -> float:
        """What the ratio to the baseline was multiplied by; above 1 is slower."""
        return self.after / self.before

    @property
    def slower(self) -> bool:
        return self.factor > 1 + NOISE

    @property
    def faster(self) -> bool:
        return self.factor < 1 / (1 + NOISE)


def earlier(path: Path, device: str) -> dict[str, Any]:
    """A result that `freeatten bench --json` wrote before, on a device of the same kind.

    Raises:
        UsageError: it is not one, or of another kind of device.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--against is {str(path)!r}, which cannot be read: {reason_of(error)}"
        ) from None
    if not _is_benchmark(found):
        raise UsageError(
            f"--against is {str(path)!r}, which is not what freeatten bench --json writes"
        )
    was = "cuda" if on_gpu(found) else "cpu"
    if was != device:
        raise UsageError(
            f"--against is {str(path)!r}, measured on {_kind(was)}; this run is on {_kind(device)}"
        )
    return dict(found)


def changes(before: Result, after: Result) -> list[Change]:
    """Every cell that both have, besides the baseline, the worst first; none where heads, batch or
    type differ."""
    if any(before["settings"].get(name) != after["settings"].get(name) for name in CALL):
        return []
    was, now = _ratios(before), _ratios(after)
    found = [
        Change(*cell, was[cell], now[cell])
        for cell in now
        if cell in was and cell[0] != baseline(after)
    ]
    return sorted(found, key=lambda change: -change.factor)


def changes_json(before: Result, found: Sequence[Change]) -> dict[str, Any]:
    """For `against` in a result: what it was compared with, and every change."""
    about = {name: before.get(name) for name in ("device", "versions", "date", "commit", "command")}
    return about | {"changes": [asdict(each) | {"factor": each.factor} for each in found]}


def listed(against: Result) -> list[Change]:
    """The changes of `changes_json`."""
    names = [each.name for each in fields(Change)]
    return [Change(**{name: entry[name] for name in names}) for entry in against["changes"]]


def changes_sentence(found: Sequence[Change]) -> str:
    """One sentence: how many got slower, and which most."""
    if not found:
        return (
            "Nothing is in both: the same variant, pass, length, head size, heads, batch and type."
        )
    slower = [each for each in found if each.slower]
    faster = [each for each in found if each.faster]
    cells = f"of {len(found)} cells" if len(found) > 1 else "of one cell"
    if not slower and not faster:
        return f"Nothing changed by {NOISE:.0%} or more, {cells}."
    parts = []
    if slower:
        worst = slower[0]
        parts.append(
            f"{len(slower)} slower, most {worst.peer} {worst.pass_name} at {worst.length:,} tokens"
            f" and heads of {worst.dim} ({times(worst.before)} to {times(worst.after)})"
        )
    if faster:
        parts.append(f"{len(faster)} faster")
    return f"{'; '.join(parts)}; {cells}, by {NOISE:.0%} or more."


def devices_note(result: Result) -> str:
    """That the earlier run was on another device; nothing where it was on the same.

    Args:
        result: with `against`.
    """
    then, now = result["against"]["device"] or "unknown", result["device"]
    if then == now:
        return ""
    return (
        f"Another device: {then} then, {now} now. Every ratio is to PyTorch on its own, so what "
        "moved may be the device."
    )


def _is_benchmark(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        return False
    rows = found.get("rows")
    named = {"peer", "length", "ratio"}
    return (
        bool(rows)
        and isinstance(rows, list)
        and all(isinstance(row, dict) and named <= row.keys() for row in rows)
    )


def _ratios(result: Result) -> dict[tuple[str, str, int, int], float]:
    dim = result["settings"].get("dim")
    return {_cell(row, dim): row["ratio"] for row in result["rows"] if row["ratio"]}


def _cell(row: Entry, dim: int) -> tuple[str, str, int, int]:
    return row["peer"], row.get("pass_name", "forward"), row.get("dim", dim), row["length"]


def _kind(device: str) -> str:
    return "a GPU" if device == "cuda" else "a CPU"
