"""The command of the terminal that does what a tab shows."""

from __future__ import annotations

from typing import Any

from freeatten_core.basics.errors import UsageError

from ..server.analyses import Analyses, Analysis
from ..server.models import MOST_MODELS

__all__ = ["checkpoints", "command", "several"]


def command(name: str, words: list[str], analyses: Analyses, analysis: Analysis) -> str:
    """What to type for the same view; an own text is named by its file."""
    asked = analysis.asked
    given = ["freeatten", name, *words, "--len", str(analysis.capture.length)]
    return analyses.texts.command(given, asked.text, asked.seed)


def several(analyses: Analyses, ids: Any) -> list[Analysis]:
    if not isinstance(ids, list) or not 1 <= len(ids) <= MOST_MODELS:
        raise UsageError(f"ids must be a list of 1 to {MOST_MODELS} analyses")
    return [analyses.get(id) for id in ids]


def checkpoints(analyses: Analyses, found: list[Analysis]) -> list[str]:
    sources = [analyses.models.option(each.asked.checkpoint) for each in found]
    return [word for source in sources for word in ("--checkpoint", source)]
