"""Larger models (`tests/measure/scale.py`): how fast they train, and what trains them best."""

from __future__ import annotations

from collections.abc import Sequence

from .comparison import verdict_text
from .format import MISSING, Entry, Result, count, number, percent, signed
from .markdown import table

__all__ = ["rows_table", "scale_blocks", "sizes_table", "speed_table", "trials_table"]


def scale_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of docs/training.md and docs/scale.md about trainings, by name."""
    return {
        f"{name} rows": rows_table(result["rows"]),
        f"{name} speed": speed_table(result["speed"]),
        f"{name} trials": trials_table(result["trials"]),
        f"{name} provenance": _provenance(result["speed"]),
    }


def speed_table(speeds: Sequence[Entry]) -> str:
    """A line a variant and number of GPUs: tokens a second, what is left of so many times one
    GPU's, and the share of the GPUs' peak."""
    ordered = sorted(
        speeds, key=lambda each: (-each["parameters"], each["variant"], each["processes"])
    )
    lines = []
    for each in ordered:
        alone = [other for other in speeds if _same_work(each, other) and other["processes"] == 1]
        efficiency = None
        if alone and each["processes"] > 1:
            whole = each["processes"] * alone[0]["tokens_per_second"]
            efficiency = each["tokens_per_second"] / whole
        memory = each["peak_bytes"]
        lines.append(
            [
                f"`{each['variant']}`",
                _millions(each["parameters"]),
                each["optimizer"],
                str(each["processes"]),
                count(round(each["tokens_per_second"])),
                percent(efficiency),
                percent(each["share_of_peak"]),
                MISSING if memory is None else number(memory / 1e9, 0),
            ]
        )
    header = ["", "parameters", "optimizer", "GPUs", "tokens a second"]
    return table([*header, "scaling, %", "of the peak, %", "memory a GPU, GB"], lines)


def _same_work(one: Entry, other: Entry) -> bool:
    keys = ("variant", "parameters", "optimizer", "train_length", "batch", "shard")
    return all(one[key] == other[key] for key in keys)


def trials_table(trials: Sequence[Entry]) -> str:
    """A line an optimizer and schedule, the lowest validation loss first."""
    ranked = sorted(trials, key=lambda each: float(each["curve"][-1]["validation"]))
    lines = [
        [
            each["recipe"]["optimizer"],
            each["recipe"]["schedule"],
            count(each["recipe"]["steps"]),
            _millions(each["tokens_seen"]),
            number(each["curve"][-1]["validation"]),
        ]
        for each in ranked
    ]
    return table(["optimizer", "schedule", "steps", "tokens seen", "validation loss"], lines)


def rows_table(rows: Sequence[Entry]) -> str:
    """A line a trained row: how large, on how much, how often the text, and how far it came."""
    lines = [
        [
            f"`{each['variant']}`",
            _millions(each["parameters"]),
            count(each["recipe"]["steps"]),
            _millions(each["tokens_seen"]),
            number(each["tokens_seen"] / sum(each["tokens_of_text"]), 2),
            number(each["curve"][-1]["validation"]),
        ]
        for each in sorted(rows, key=lambda row: (-row["parameters"], row["variant"]))
    ]
    header = ["", "parameters", "steps", "tokens seen", "epochs", "validation loss"]
    return table(header, lines)


def sizes_table(
    trainings: Sequence[Entry], measured: Sequence[tuple[str, Sequence[Result]]]
) -> str:
    """A line a variant and size, the smallest first.

    Of each text it has bits per byte at the training length, and Δ at the longest with its verdict.

    Args:
        trainings: `name`, `variant`, `parameters`, `train_length` and `tokens_seen` of every row.
        measured: a kind of text, with comparisons of rows on it.
    """
    lines = []
    for each in sorted(trainings, key=lambda row: (row["variant"], row["parameters"])):
        start = [
            f"`{each['variant']}`",
            _millions(each["parameters"]),
            count(each["train_length"]),
            _millions(each["tokens_seen"]),
        ]
        lines.append([*start, *(cell for _, found in measured for cell in _gained(each, found))])
    titles = [f"{title} {kind}" for kind, _ in measured for title in ("bits at 1×,", "Δ at 16×,")]
    return table(["", "parameters", "trained at", "tokens seen", *titles], lines)


def _gained(training: Entry, results: Sequence[Result]) -> list[str]:
    """Bits per byte at the training length, and Δ at the longest with its verdict."""
    for result in results:
        for row in result["variants"]:
            if (row["checkpoint"], row["variant"]) == (training["name"], training["variant"]):
                bits = row["bits_per_byte"][result["lengths"].index(training["train_length"])]
                return [number(bits), f"{signed(row['delta'][-1])}, {verdict_text(row)}"]
    return [MISSING, MISSING]


def _millions(value: float) -> str:
    return f"{number(value / 1e6, 0)} M"


def _provenance(speeds: Sequence[Entry]) -> str:
    """What computed them, with its versions."""
    found = {
        f"{each['device']}, torch {each['versions']['torch']}, Python {each['versions']['python']}"
        for each in speeds
    }
    return "; ".join(sorted(found))
