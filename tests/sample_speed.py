"""A made-up result in the form of `freeatten bench --json` on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)
COMPILED_LENGTHS = (2048, 8192, 32768)
RATIOS = {
    "sdpa flash": 1.0,
    "sdpa cudnn": 0.63,
    "lssar:p=15": 1.42,
    "lssa": 0.98,
    "softmax": 0.96,
    "lssar:p=15 flex": 5.1,
    "lssa flex": 2.4,
    "lssar:p=15 compiled": 12.0,
    "lssar:p=15 naive": 76.0,
}
WORK = {"forward": 1.0, "backward": 2.5, "both": 3.5}


def sample_row(peer: str, length: int, dim: int, pass_name: str) -> dict[str, Any]:
    flash = 0.12e-3 * length / 1024 * dim / 64 * WORK[pass_name]
    seconds = flash * RATIOS[peer]
    row: dict[str, Any] = {
        "peer": peer,
        "length": length,
        "ms": 1e3 * seconds,
        "gflops": 2 * WORK[pass_name] * 16384 * 16 * length * dim / seconds / 1e9,
        "ratio": RATIOS[peer],
        "peak_mb": 34.1 * WORK[pass_name],
        "note": "",
        "dim": dim,
        "batch": max(1, 16384 // length),
        "pass_name": pass_name,
        "runs": 20,
        "error": 2e-3,
    }
    if peer.endswith("naive") and length > 16384:
        row |= dict.fromkeys(("ms", "gflops", "ratio", "peak_mb", "error"))
        row |= {"note": "out of memory: needs 181 GB", "runs": 0}
    return row


def sample_speed(
    lengths: Sequence[int] = LENGTHS,
    dims: Sequence[int] = (64, 128),
    passes: Sequence[str] = tuple(WORK),
) -> dict[str, Any]:
    return {
        "schema": 1,
        "device": "NVIDIA H200",
        "seconds": 203.4,
        "versions": {
            "freeatten": "0.1.0",
            "torch": "2.11.0+cu130",
            "python": "3.12.3",
            "triton": "3.6.0",
            "cuda": "13.0",
            "cudnn": "91300",
        },
        "command": "freeatten bench --device cuda --json",
        "date": "2026-11-23",
        "commit": "c3e835d0c2d19d5050b4eeeacddbc34ee9aba5c8",
        "settings": {
            "lengths": list(lengths),
            "dims": list(dims),
            "heads": 16,
            "tokens": 16384,
            "batch": None,
            "variants": "lssar:p=15,lssa,softmax",
            "passes": list(passes),
            "dtype": "bfloat16",
            "peers": ["cudnn", "flex", "compiled", "naive"],
            "compiled_lengths": list(COMPILED_LENGTHS),
            "repeat": 20,
            "is_causal": True,
        },
        "rows": [
            sample_row(peer, length, dim, pass_name)
            for dim in dims
            for length in lengths
            for pass_name in passes
            for peer in RATIOS
            if length in COMPILED_LENGTHS or not peer.endswith(("flex", "compiled"))
        ],
    }
