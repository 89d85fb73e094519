"""A made-up result in the form of `freeatten languages --json`."""

from __future__ import annotations

from typing import Any

EDGES = [20, 40, 60, 80]
CHANCES = {"parity-check": 0.5, "modular-arithmetic": 0.2}
SHARES = {"softmax": [0.99, 0.97, 0.6, 0.5], "lssar:p=15": [1.0, 0.99, 0.9, 0.8]}


def cell(language: str, shares: list[float], seeds: int) -> dict[str, Any]:
    score = sum(shares[2:]) / 2
    return {
        "language": language,
        "accuracy": score,
        "accuracy_ci95": [score - 0.02, score + 0.02],
        "within": sum(shares[:2]) / 2,
        "within_ci95": [0.9, 1.0],
        "accuracy_by_seed": [score - 0.1, score + 0.1][:seeds],
        "accuracy_by_length": shares,
        "error": None,
    }


def failed(language: str) -> dict[str, Any]:
    none = [None, None]
    return {
        "language": language,
        "accuracy": None,
        "accuracy_ci95": none,
        "within": None,
        "within_ci95": none,
        "accuracy_by_seed": [],
        "accuracy_by_length": None,
        "error": "seed 0: softmax diverged: at step 8 its validation loss is inf",
    }


def languages_result(seeds: int = 2) -> dict[str, Any]:
    rows = [
        {
            "variant": variant,
            "checkpoint": variant.replace(":p=", "-p"),
            "languages": [cell(language, shares, seeds) for language in CHANCES],
        }
        for variant, shares in SHARES.items()
    ]
    return {
        "schema": 1,
        "trained_to": 40,
        "lengths": EDGES,
        "languages": dict(CHANCES),
        "samples": 32,
        "seed": 0,
        "seeds": list(range(seeds)),
        "dtype": "float32",
        "recipe": {"steps": 10_000, "layers": 5, "width": 64, "heads": 4},
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": "freeatten languages --out models",
        "date": "2026-01-02",
        "commit": "ab" * 20,
        "variants": rows,
    }
