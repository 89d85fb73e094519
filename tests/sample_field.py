"""A made-up result in the form of `freeatten field --json`."""

from __future__ import annotations

from typing import Any

DISTANCES = [1, 256, 512, 1024]
SHARES = {"softmax": [0.1, 0.2, 0.3, 1.0], "softmax+window": [0.2, 0.5, 0.95, 1.0]}
FIELDS = {"softmax": 1020.4, "softmax+window": 702.0}


def field_result() -> dict[str, Any]:
    rows = [
        {
            "variant": variant,
            "checkpoint": "softmax",
            "train_length": 512,
            "field": FIELDS[variant],
            "field_ci95": [FIELDS[variant] - 10, FIELDS[variant] + 10],
            "field_by_text": [FIELDS[variant]] * 2,
            "share": shares,
            "share_ci95": [[share - 0.05, share + 0.05] for share in shares],
        }
        for variant, shares in SHARES.items()
    ]
    return {
        "schema": 1,
        "train_length": 512,
        "length": 1024,
        "share": 0.99,
        "distances": DISTANCES,
        "texts": 2,
        "seed": 0,
        "dtype": "float32",
        "text": {"source": "stdlib", "files": 9, "qualifying": 9, "repeats": 0, "manifest": {}},
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": "freeatten field",
        "date": "2026-01-02",
        "commit": "ab" * 20,
        "variants": rows,
    }
