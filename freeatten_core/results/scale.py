"""Larger models (`tests/measure/scale.py`): how they were trained, and what holds at their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .comparison import verdict_text
from .format import (
    MISSING,
    Entry,
    Result,
    control_text,
    count,
    number,
    percent,
    signed,
    with_half_width,
)
from .markdown import heading, table
from .pages import inside_blocks, modifier_blocks

__all__ = [
    "TEXTS",
    "losses_table",
    "scale_blocks",
    "sizes_table",
    "speed_table",
    "training_table",
    "trials_table",
]

TEXTS: Mapping[str, str] = {"code": "code", "books": "novels", "nonfiction": "non-fiction"}
"""What rows were scored on, in words."""
SIZES = {"small": "25 M", "medium": "105 M"}
"""Parameters, by how the name of a checkpoint begins."""
TRAINING = "scale/training"


def scale_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The generated blocks of docs/scale.md and docs/training.md, by their names.

    Args:
        results: of the folder, by names such as `scale/training`.
    """
    measured = {name: result for name, result in results.items() if name != TRAINING}
    seen = {name: result for name, result in measured.items() if "statistic" in result}
    filled = inside_blocks(seen)
    filled |= modifier_blocks({name: measured[name] for name in measured.keys() - seen.keys()})
    training = results.get(TRAINING)
    if training is not None:
        filled |= {
            f"{TRAINING} speed": speed_table(training["speed"]),
            f"{TRAINING} trials": trials_table(training["trials"]),
            f"{TRAINING} rows": training_table(training["rows"]),
        }
    compared = {text: results[f"scale/{text}"] for text in TEXTS if f"scale/{text}" in results}
    if compared:
        # of all texts, though it has the name of one
        filled["scale/books texts"] = losses_table(compared)
    for name, result in measured.items():
        if name.startswith("scale/sizes-"):
            filled[f"{name} bits"] = sizes_table(result)
    return filled


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
            _millions(each["tokens_seen"]),
            number(each["curve"][-1]["validation"]),
        ]
        for each in ranked
    ]
    return table(["optimizer", "schedule", "steps", "tokens seen", "validation loss"], lines)


def training_table(rows: Sequence[Entry]) -> str:
    """A line a row: what it read, how often, and its last validation loss."""
    lines = [
        [
            f"`{each['variant']}`",
            f"{number(each['parameters'] / 1e6, 1)} M",
            _millions(each["tokens_seen"]),
            number(each["tokens_seen"] / sum(each["tokens_of_text"]), 1),
            f"{each['learning_rate']:g}",
            number(each["curve"][-1]["validation"]),
        ]
        for each in sorted(rows, key=lambda row: (row["parameters"], row["variant"]))
    ]
    header = ["", "parameters", "tokens seen", "epochs", "learning rate", "validation loss"]
    return table(header, lines)


def losses_table(compared: Mapping[str, Result]) -> str:
    """A line a row and text: the loss at every length, Δ, S and W at the longest, the verdict.

    Args:
        compared: results on the same lengths, by a name of `TEXTS`.
    """
    first = next(iter(compared.values()))
    lines = []
    for text, result in compared.items():
        for row in result["variants"]:
            lines.append(
                [
                    f"`{row['variant']}`, {_size_of(row)}",
                    TEXTS[text],
                    *map(number, row["loss"]),
                    with_half_width(signed(row["delta"][-1]), row["delta_ci95"][-1]),
                    control_text(row, "sliding"),
                    control_text(row, "window"),
                    verdict_text(row),
                ]
            )
    lengths = [heading(first, length) for length in first["lengths"]]
    return table(["", "text", *lengths, "Δ", "S", "W", "verdict"], lines)


def _size_of(row: Entry) -> str:
    """`105 M` of a row whose checkpoint is `medium-softmax`; of a shipped one `3 M`."""
    return SIZES.get(str(row["checkpoint"]).partition("-")[0], "3 M")


def sizes_table(result: Result) -> str:
    """Bits per byte on the same characters, which compare between tokenizers; a line a row."""
    lines = [
        [f"`{row['variant']}`, {_size_of(row)}", *map(number, row["bits_per_byte"])]
        for row in result["variants"]
    ]
    return table(["bits per byte", *map(count, result["lengths"])], lines)


def _millions(tokens: int) -> str:
    return f"{number(tokens / 1e6, 0)} M"
