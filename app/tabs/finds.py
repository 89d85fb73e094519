"""In the tab Map, heads that are worth a look."""

from __future__ import annotations

from collections.abc import Callable

from ..server.analyses import Analyses, Analysis
from ..server.answers import Answer
from ..server.jobs import Advance

__all__ = ["functions"]


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def start_finds(id: str) -> Answer:
        """Begins to look for them."""
        found = analyses.get(id)
        return {"job": analyses.jobs.start("analysis", lambda to: _found(analyses, found, to))}

    return [start_finds]


def _found(analyses: Analyses, found: Analysis, advance: Advance) -> Answer:
    """Heads of every kind, the first of each first."""
    from freeatten_core.analysis.finding import findings, repeated

    row = analyses.models.row(found.asked.checkpoint)
    twice = analyses.capture(
        row, repeated(found.capture.tokens), list(found.capture.layers), advance
    )
    return {
        "finds": [
            {name: getattr(each, name) for name in ("kind", "layer", "head", "sentence")}
            for each in findings(found.capture, twice)
        ]
    }
