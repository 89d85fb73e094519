"""A made-up result in the form of `freeatten stability --json`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

LENGTHS, SCALES = (128, 512), (1.0, 4.0)
DTYPES = ("float16", "float32")
TENSORS = ("query", "key", "value")
EXP = {"naive": [[5e-4, None], [6e-4, None]], "safe": [[6e-4, 2e-3], [8e-4, 4e-3]]}
"""Errors of softmax in float16, lengths × scales; half of the naive rows are lost at scale 4."""
SOFTPLUS = {"naive": [[None, None], [None, None]], "safe": [[5e-4, 5e-4], [4e-4, 1.0]]}
"""Of lssa: all naive rows are lost, and of the safe ones 0.4 % at 512 tokens and scale 4."""
KERNEL = [[2e-4, 2e-4], [3e-4, 3e-4]]


def _tables(errors: list[list[Any]], share: float, zero: float = 0.0) -> dict[str, Any]:
    """One form; `share` of the rows is not finite where there is no error."""
    gone = [[share if error is None else 0.0 for error in row] for row in errors]
    mistaken = [[zero if error == 1.0 else 0.0 for error in row] for row in errors]
    norms = {f"{name}_gradient_norm": [[None if g else 2.0 for g in row] for row in gone]
             for name in TENSORS}  # fmt: skip
    found = {f"{name}_gradient_error": [[None if g else 3e-3 for g in row] for row in gone]
             for name in TENSORS}  # fmt: skip
    return {"error": deepcopy(errors), "nonfinite": gone, "zero": mistaken, **norms, **found}


def _entry(kind: str, variant: str, errors: dict[str, Any], share: float) -> dict[str, Any]:
    small = [[1e-7, 1e-7], [1e-7, 1e-7]]
    types = {
        "float16": {
            "naive": _tables(errors["naive"], share),
            "safe": _tables(errors["safe"], 0.0, 0.004),
            "kernel": _tables(KERNEL, 0.0),
        },
        "float32": {form: _tables(small, 0.0) for form in ("naive", "safe", "kernel")},
    }
    return {
        "inputs": kind,
        "variant": variant,
        "checkpoint": variant if kind == "checkpoint" else None,
        "lowest_score": [[-3.0, -48.0], [-4.84, -77.4]],
        "largest_score": [[3.1, 49.6], [4.5, 72.0]],
        **{f"{name}_gradient_norm": [[1.0, 4.0], [0.86, 23456.0]] for name in TENSORS},
        "types": types,
    }


def stability_result() -> dict[str, Any]:
    return {
        "schema": 1,
        "device": "cpu",
        "seconds": 12.3,
        "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "command": "freeatten stability --json",
        "date": "2026-01-02",
        "commit": "ab" * 20,
        "settings": {
            "variants": ["softmax", "lssa"],
            "lengths": list(LENGTHS),
            "scales": list(SCALES),
            "dtypes": list(DTYPES),
            "inputs": ["random", "checkpoint"],
            "seed": 0,
            "rows": 32,
        },
        "text": {"source": "stdlib", "name": "ast.py", "manifest": {"ast.py": "0" * 64}},
        "variants": [
            _entry("random", "softmax", EXP, 0.5),
            _entry("random", "lssa", SOFTPLUS, 1.0),
            _entry("checkpoint", "softmax", EXP, 0.5),
        ],
    }
