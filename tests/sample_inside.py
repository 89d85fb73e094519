"""Made-up results in the form of `freeatten entropy --by length` and `freeatten ablate`."""

from __future__ import annotations

from typing import Any

LENGTHS = (512, 1024, 2048)
MEASURES = {
    "entropy": {"softmax": (2.9, 4.2, 5.1), "lssar:p=15": (1.9, 2.2, 2.5)},
    "relative_entropy": {"softmax": (0.487, 0.629, 0.695), "lssar:p=15": (0.326, 0.327, 0.347)},
    "effective_tokens": {"softmax": (30.4, 80.7, 182.4), "lssar:p=15": (7.8, 10.2, 15.9)},
    "largest": {"softmax": (0.357, 0.166, 0.103), "lssar:p=15": (0.461, 0.427, 0.372)},
    "first": {"softmax": (0.025, 0.02, 0.007), "lssar:p=15": (0.003, 0.002, 0.0)},
    "mean_distance": {"softmax": (55.0, 513.0, 870.0), "lssar:p=15": (39.0, 63.0, 103.0)},
    "zeros": {"softmax": (0.0, 0.0, 0.0), "lssar:p=15": (0.488, 0.502, 0.541)},
    "far": {"softmax": (0.0, 0.822, 0.919), "lssar:p=15": (0.0, 0.045, 0.071)},
    "received": {"softmax": (0.048, 0.05, 0.028), "lssar:p=15": (0.042, 0.03, 0.028)},
}
DISTANCES = (0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047)
BY_DISTANCE = (
    [0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02, 0.0, 0.0],
    [0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02, 0.1, 0.0],
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.03, 0.02, 0.1, 0.1],
)
HEADS = (
    {"mean_distance": 8.0, "far": 0.99, "sink": 0.01, "received": 0.02, "change": -0.25},
    {"mean_distance": 140.0, "far": 0.4, "sink": 0.35, "received": 0.3, "change": 0.01},
    {"mean_distance": 12.0, "far": 0.05, "sink": 0.02, "received": 0.05, "change": -0.05},
    {"mean_distance": 60.0, "far": 0.6, "sink": 0.03, "received": 0.04, "change": -0.1},
)
"""Two layers of two heads: mean distance at 1×, share on far tokens at the longest length, …"""
DELTA = {
    "intact": 0.481,
    "window": -0.023,
    "rotation": -0.042,
    "scale": 0.478,
    "rotation+scale": -0.043,
}


def facts(command: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "train_length": 512,
        "texts": 6,
        "seed": 0,
        "dtype": "float32",
        "text": {"source": "stdlib", "files": 514, "qualifying": 114, "manifest": {}},
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": command,
        "date": "2026-01-02",
        "commit": "ab" * 20,
    }


def _survey_row(variant: str) -> dict[str, Any]:
    by_length: dict[str, Any] = {}
    for name, found in MEASURES.items():
        by_length[name] = list(found[variant])
        by_length[f"{name}_ci95"] = [[value - 0.1, value + 0.1] for value in found[variant]]
    heads = [
        {
            "layer": index // 2,
            "head": index % 2,
            "sink": head["sink"],
            "by_length": {
                "mean_distance": [head["mean_distance"], 500.0, 900.0],
                "far": [0.0, head["far"], head["far"]],
                "received": [head["received"], 0.02, head["received"] / 2],
            },
        }
        for index, head in enumerate(HEADS)
    ]
    return {
        "variant": variant,
        "checkpoint": variant.replace(":p=", "-p"),
        "train_length": 512,
        "heads": heads,
        "sink_rate": 0.25,
        "by_length": by_length,
        "by_distance": [list(shares) for shares in BY_DISTANCE],
    }


def survey_result() -> dict[str, Any]:
    result = facts("freeatten entropy --len 4x --by length")
    result["text"]["names"] = ["ast.py", "csv.py"]
    return result | {
        "length": 2048,
        "lengths": list(LENGTHS),
        "distances": list(DISTANCES),
        "statistic": "relative_entropy",
        "variants": [_survey_row(variant) for variant in MEASURES["far"]],
    }


def ablate_result(heads: bool = True) -> dict[str, Any]:
    rows = []
    for variant in MEASURES["far"]:
        row: dict[str, Any] = {
            "variant": variant,
            "checkpoint": variant.replace(":p=", "-p"),
            "train_length": 512,
            "loss": 2.5,
            "loss_ci95": [2.4, 2.6],
            "delta": dict(DELTA),
            "delta_ci95": {name: [value - 0.03, value + 0.03] for name, value in DELTA.items()},
        }
        if heads:
            row["heads"] = [
                {
                    "layer": index // 2,
                    "head": index % 2,
                    "change": head["change"],
                    "change_ci95": [head["change"] - 0.02, head["change"] + 0.02],
                }
                for index, head in enumerate(HEADS)
            ]
        rows.append(row)
    return facts("freeatten ablate --len 4x") | {"length": 2048, "variants": rows}
