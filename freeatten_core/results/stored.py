"""The stored results that have the form of `freeatten compare`, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freeatten_core.basics.assets import assets

from .ceiling import with_shares
from .cube import comparison
from .format import Result
from .rows import row_comparisons
from .shared import whole_runs
from .verdicts import upgraded

__all__ = [
    "all_comparisons",
    "read_result",
    "stored_comparisons",
    "stored_model_comparisons",
    "stored_results",
    "stored_retrievals",
]

FOLDERS = ("systems", "far", "ceiling", "controls")
"""Folders of comparisons: rows with modifiers to 16× and to 64×, rows beside softmax trained at
4,096 tokens, and controls: trained on from softmax, CosScale, and `+temper`."""
CEILING = "ceiling"
"""The checkpoint of that softmax, whose gain the other rows have a share of."""
ROWS = "rows"
"""The folder of what one recipe trained; its weights are not shipped."""

MODELS = "models"
"""The folder of models of others."""

RETRIEVALS = ("retrieve", "tasks")
"""Folders of what `freeatten retrieve` gave: copying and recall, of which the pages have pictures,
and the other tasks."""


def all_comparisons() -> dict[str, Result]:
    """Every stored comparison by its name, those of models of others last."""
    return stored_comparisons() | stored_model_comparisons()


def stored_comparisons() -> dict[str, Result]:
    """Those of this project's models, by names such as `stdlib-16x`, `systems/code` and
    `rows/full/code`."""
    folder = assets() / "results"
    found: dict[str, Result] = dict(stored_results(folder))
    for part in FOLDERS:
        found |= {f"{part}/{name}": each for name, each in stored_results(folder / part).items()}
    found |= {
        name: with_shares(each, CEILING)
        for name, each in found.items()
        if any(row["checkpoint"] == CEILING for row in each.get("variants", ()))
    }
    joined = read_result(folder / "cube" / "runs.json")
    found |= {f"cube/{part}": comparison(joined, part) for part in ("code", "books")}
    for name, each in stored_results(folder / ROWS).items():
        found |= {f"{ROWS}/{name}/{part}": made for part, made in row_comparisons(each).items()}
    return {name: result for name, result in found.items() if "control" in result}


def stored_model_comparisons() -> dict[str, Result]:
    """Those of models of others, by names such as `models/code`."""
    found = stored_results(assets() / "results" / MODELS)
    return {f"{MODELS}/{name}": each for name, each in found.items() if "control" in each}


def stored_retrievals(results: Path) -> dict[str, dict[str, Any]]:
    """What `freeatten retrieve` gave of each task, by its name: copying first, then recall.

    Args:
        results: the folder of all stored results.
    """
    return {
        name: result
        for folder in RETRIEVALS
        for name, result in stored_results(results / folder).items()
        if result.get("task") == name
    }


def stored_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Stored results by name, such as `stdlib-16x`, in today's schemas."""
    return {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}


def read_result(path: Path) -> dict[str, Any]:
    """A stored result in today's schema, its runs whole."""
    result = whole_runs(json.loads(path.read_text(encoding="utf-8")))
    return upgraded(result) if "control" in result else result
