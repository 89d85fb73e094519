"""Made-up results in the form of `freeatten retrieve --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freeatten_core.results.shares import wilson

LENGTHS = (256, 512, 1024, 2048)
GAIN = {"softmax": (2.51, 1.85, 0.43, 0.02), "lssar:p=15": (2.54, 2.24, 0.22, -0.019)}
CONTROL = {"softmax": (3.91, 3.98, 6.66, 6.38), "lssar:p=15": (3.76, 3.86, 3.94, 4.11)}
ACCURACY = {"softmax": (1.0, 0.998, 0.467, 0.102), "lssar:p=15": (1.0, 0.99, 0.951, 0.874)}


def around(values: Sequence[float], half: float) -> list[list[float]]:
    return [[value - half, value + half] for value in values]


def facts(task: str, trained: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "task": task,
        "train_length": trained,
        "lengths": list(LENGTHS),
        "samples": 8,
        "seed": 0,
        "dtype": "float32",
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": f"freeatten retrieve --task {task}",
        "date": "2026-01-02",
        "commit": "ab" * 20,
    }


def copy_row(variant: str) -> dict[str, Any]:
    gain, control = GAIN[variant], CONTROL[variant]
    loss = [c - g for c, g in zip(control, gain, strict=True)]
    return {
        "variant": variant,
        "checkpoint": variant.replace(":p=", "-p"),
        "train_length": 512,
        "gain": list(gain),
        "gain_ci95": around(gain, 0.05),
        "loss": loss,
        "loss_ci95": around(loss, 0.4),
        "control": list(control),
        "control_ci95": around(control, 0.4),
    }


def copy_result() -> dict[str, Any]:
    text = {"source": "stdlib", "files": 598, "sha256": "ab" * 32, "manifest": {}}
    rows = [copy_row(variant) for variant in GAIN]
    return facts("copy", 512) | {"block": 64, "text": text, "variants": rows}


def recall_result() -> dict[str, Any]:
    none = {"queries": 0, "accuracy": None, "ci95": [None, None]}
    near = [
        {"queries": 128, "accuracy": share, "ci95": [*wilson(round(128 * share), 128)]}
        for share in (1.0, 0.75, 0.5)
    ]
    far = [
        {"queries": 3, "accuracy": 1.0, "ci95": [0.44, 1.0]},
        none,
        {"queries": 125, "accuracy": 0.1, "ci95": [0.06, 0.16]},
    ]
    rows = [
        {
            "variant": variant,
            "checkpoint": variant.replace(":p=", "-p"),
            "train_length": 256,
            "accuracy": list(values),
            "accuracy_ci95": [[*wilson(round(128 * value), 128)] for value in values],
            "by_distance": [[asked, none, none] for asked in near] + [far],
        }
        for variant, values in ACCURACY.items()
    ]
    task = {"kind": "recall", "keys": 32, "values": 16, "fillers": 64, "pairs": 16}
    return facts("recall", 256) | {
        "schema": 3,
        "recall": task,
        "chance": 1 / 16,
        "distances": [128, 256, 2048],
        "variants": rows,
    }
