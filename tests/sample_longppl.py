"""A made-up result in the form of `freeatten longppl --json`."""

from __future__ import annotations

import math
from typing import Any

LOSSES = {"softmax": (1.8, 2.5), "lssar:p=15": (1.2, 2.4)}


def longppl_result() -> dict[str, Any]:
    rows = [
        {
            "variant": variant,
            "checkpoint": variant.replace(":p=", "-p"),
            "train_length": 512,
            "longppl": math.exp(key),
            "longppl_ci95": [math.exp(key - 0.1), math.exp(key + 0.1)],
            "key_loss": key,
            "key_loss_ci95": [key - 0.1, key + 0.1],
            "rest_loss": rest,
            "rest_loss_ci95": [rest - 0.05, rest + 0.05],
            "loss": rest,
        }
        for variant, (key, rest) in LOSSES.items()
    ]
    return {
        "schema": 1,
        "train_length": 512,
        "length": 4096,
        "truncation": 512,
        "stride": 128,
        "gain": 2.0,
        "known": 2.0,
        "evaluator": {"variant": "softmax", "checkpoint": "long", "train_length": 4096},
        "texts": 3,
        "tokens": 10_000,
        "key_tokens": 120,
        "seed": 0,
        "dtype": "float32",
        "text": {"source": "stdlib", "files": 9, "qualifying": 9, "repeats": 0, "manifest": {}},
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": "freeatten longppl --evaluator long",
        "date": "2026-01-02",
        "commit": "ab" * 20,
        "variants": rows,
    }
