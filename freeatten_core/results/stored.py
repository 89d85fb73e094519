"""The stored results that have the form of `freeatten compare`, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freeatten_core.basics.assets import assets

from .cube import comparison
from .format import Result
from .verdicts import upgraded

__all__ = [
    "all_comparisons",
    "stored_comparisons",
    "stored_model_comparisons",
    "stored_results",
]

WITHOUT_TRAINING = ("systems", "far", "ceiling")
"""Folders of rows with modifiers: to 16×, to 64×, and beside softmax trained at 4,096 tokens."""

MODELS = "models"
"""The folder of models of others."""


def all_comparisons() -> dict[str, Result]:
    """Every stored comparison by its name, those of models of others last."""
    return stored_comparisons() | stored_model_comparisons()


def stored_comparisons() -> dict[str, Result]:
    """Those of this project's models, by names such as `stdlib-16x` and `systems/code`."""
    folder = assets() / "results"
    found: dict[str, Result] = dict(stored_results(folder))
    for part in WITHOUT_TRAINING:
        found |= {f"{part}/{name}": each for name, each in stored_results(folder / part).items()}
    joined = json.loads((folder / "cube" / "runs.json").read_text(encoding="utf-8"))
    found |= {f"cube/{part}": comparison(joined, part) for part in ("code", "books")}
    return {name: result for name, result in found.items() if "control" in result}


def stored_model_comparisons() -> dict[str, Result]:
    """Those of models of others, by names such as `models/code`."""
    found = stored_results(assets() / "results" / MODELS)
    return {f"{MODELS}/{name}": each for name, each in found.items() if "control" in each}


def stored_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Stored results by name, such as `stdlib-16x`, in today's schemas."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }
    return {
        name: upgraded(result) if "control" in result else result for name, result in found.items()
    }
