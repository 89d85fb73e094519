"""Larger models (`tests/measure/scale.py`): how fast they train, and what trains them best."""

from __future__ import annotations

from collections.abc import Sequence

from .format import MISSING, Entry, Result, count, number, percent
from .markdown import table

__all__ = ["scale_blocks", "speed_table", "trials_table"]


def scale_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of docs/training.md, by their names."""
    return {
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
                f"{number(each['parameters'] / 1e6, 0)} M",
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
            f"{number(each['tokens_seen'] / 1e6, 0)} M",
            number(each["curve"][-1]["validation"]),
        ]
        for each in ranked
    ]
    return table(["optimizer", "schedule", "steps", "tokens seen", "validation loss"], lines)


def _provenance(speeds: Sequence[Entry]) -> str:
    """What computed them, with its versions."""
    found = {
        f"{each['device']}, torch {each['versions']['torch']}, Python {each['versions']['python']}"
        for each in speeds
    }
    return "; ".join(sorted(found))
