"""The stored results that have the form of `freeatten compare`, by name."""

from __future__ import annotations

import json

from .cards import stored_results
from .checkpoint import assets
from .cube import comparison
from .wording import Result

WITHOUT_TRAINING = ("systems", "far", "ceiling")
"""Folders of rows with modifiers: to 16×, to 64×, and beside softmax trained at 4,096 tokens."""


def stored_comparisons() -> dict[str, Result]:
    """Every one, by names such as `stdlib-16x`, `systems/code` and `cube/books`."""
    folder = assets() / "results"
    found: dict[str, Result] = dict(stored_results(folder))
    for part in WITHOUT_TRAINING:
        found |= {f"{part}/{name}": each for name, each in stored_results(folder / part).items()}
    joined = json.loads((folder / "cube" / "runs.json").read_text(encoding="utf-8"))
    found |= {f"cube/{part}": comparison(joined, part) for part in ("code", "books")}
    return {name: result for name, result in found.items() if "control" in result}
