"""Made-up results in the form of `freeatten compare --json`, near what probes measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TRAIN_LENGTH = 512
LENGTHS = (512, 1024, 2048, 4096, 8192)
LOSS = {
    "softmax": (2.294, 3.245, 4.137, 4.619, 4.918),
    "softmax+yarn": (2.301, 2.284, 2.312, 2.583, 3.012),
    "softmax-ls": (2.262, 2.164, 2.135, 2.156, 2.207),
    "lssa": (2.380, 2.871, 3.702, 4.410, 4.980),
    "lssar:p=3": (2.960, 3.402, 4.105, 4.622, 5.020),
    "lssar:p=15": (2.274, 2.171, 2.139, 2.171, 2.252),
    "sigmoid": (2.331, 4.902, 7.310, 8.884, 9.942),
    "relu": (2.402, 3.918, 5.207, 6.115, 6.874),
}
DELTA = {
    "softmax": (0.0, 2.07, 2.90, 2.97, 3.08),
    "softmax+yarn": (0.0, 0.041, 0.133, 0.438, 0.871),
    "softmax-ls": (0.0, -0.021, 0.016, 0.083, 0.171),
    "lssa": (0.0, 0.71, 1.52, 2.22, 2.80),
    "lssar:p=3": (0.0, 0.63, 1.31, 1.84, 2.25),
    "lssar:p=15": (0.0, -0.030, 0.007, 0.099, 0.232),
    "sigmoid": (0.0, 3.21, 5.30, 6.90, 7.95),
    "relu": (0.0, 1.80, 3.11, 4.05, 4.83),
}
HURTS_FROM = {"softmax-ls": 4096, "lssar:p=15": 4096}


def around(value: float | None, half: float) -> list[float | None]:
    return [None, None] if value is None else [value - half, value + half]


def sample_row(variant: str, lengths: Sequence[int] = LENGTHS) -> dict[str, Any]:
    picked = [LENGTHS.index(length) for length in lengths]
    loss = [LOSS[variant][index] for index in picked]
    delta = [DELTA[variant][index] for index in picked]
    return {
        "variant": variant,
        "checkpoint": variant.removesuffix("+yarn").replace(":p=", "-p"),
        "train_length": TRAIN_LENGTH,
        "loss": loss,
        "ci95": [around(value, 0.11) for value in loss],
        "restart_loss": loss[0] - 0.06,
        "delta": delta,
        "delta_ci95": [[0.0, 0.0], *(around(value, 0.012) for value in delta[1:])],
        "bits_per_byte": [value * 0.42 for value in loss],
        "ratio": loss[-1] / loss[0],
        "sliding_delta": delta[-1] + 0.01,
        "sliding_delta_ci95": around(delta[-1] + 0.01, 0.012),
        "window_delta": delta[-1] + 0.02,
        "window_delta_ci95": around(delta[-1] + 0.02, 0.012),
        "verdict": "hurts",
        "hurts_from": HURTS_FROM.get(variant, 1024) if len(lengths) > 1 else None,
    }


def sample_result(
    variants: Sequence[str] = tuple(LOSS), lengths: Sequence[int] = LENGTHS, **changes: Any
) -> dict[str, Any]:
    return {
        "schema": 2,
        "train_length": TRAIN_LENGTH,
        "lengths": list(lengths),
        "texts": 4,
        "seed": 0,
        "device": "cpu",
        "dtype": "float32",
        "seconds": 123.4,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": "freeatten compare --len 16x",
        "control": "restart",
        "text": {
            "source": "stdlib",
            "files": 601,
            "qualifying": 108,
            "tokens": 32768,
            "sha256": "ab" * 32,
            "matches_stored": True,
        },
        "variants": [sample_row(variant, lengths) for variant in variants],
    } | changes


def without_intervals(result: dict[str, Any]) -> dict[str, Any]:
    """As with one text: no interval anywhere."""
    for row in result["variants"]:
        row["ci95"] = [[None, None] for _ in row["ci95"]]
        row["delta_ci95"] = [[None, None] for _ in row["delta_ci95"]]
        row["sliding_delta_ci95"] = row["window_delta_ci95"] = [None, None]
    return result | {"texts": 1}


def with_positions(result: dict[str, Any]) -> dict[str, Any]:
    positions = [64 * 2**power for power in range(8)]
    for row in result["variants"]:
        first, last = row["loss"][0], row["loss"][-1]
        row["loss_by_position"] = [first + (last - first) * (step / 7) ** 2 for step in range(8)]
    return result | {"positions": positions}


def sample_curves(variants: Sequence[str] = ("softmax", "softmax-ls", "lssar:p=15")) -> Any:
    return {
        variant: [
            {
                "step": step,
                "loss": LOSS[variant][0] + 5 * 0.5 ** (step / 300) + 0.02 * (-1) ** (step // 100),
                "validation": LOSS[variant][0] + 5 * 0.5 ** (step / 300),
            }
            for step in range(100, 6001, 100)
        ]
        for variant in variants
    }
