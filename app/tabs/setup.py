"""What is looked into: models, a text, a length; and the analyses of them, with progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..server.analyses import LONGEST, Analyses
from ..server.answers import Answer
from ..server.models import MOST_MODELS, modifiers
from ..server.texts import MOST_CHARACTERS, PASTED_FILE

__all__ = ["functions"]

LENGTHS = tuple(512 * 2**power for power in range(7))
FIRST_LENGTH = 2048
FIRST_LONGEST = 8192
"""Of a comparison: what the stored results are of."""


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def choices() -> Answer:
        """What the page offers."""
        from freeatten_core.analysis import STATISTICS

        kinds = analyses.texts.kinds()
        return {
            "models": analyses.models.choices(),
            "texts": [{"id": kind, "label": label} for kind, label in kinds.items()],
            "lengths": [length for length in LENGTHS if length <= LONGEST],
            "length": FIRST_LENGTH,
            "longest": FIRST_LONGEST,
            "most": MOST_MODELS,
            "modifiers": modifiers(),
            "suggestions": analyses.models.suggestions(),
            "characters": MOST_CHARACTERS,
            "pasted": PASTED_FILE,
            "folders": analyses.models.local,
            "statistics": [
                {"id": name, "label": each.label, "unit": each.unit, "meaning": each.meaning}
                for name, each in STATISTICS.items()
            ],
        }

    def start(
        checkpoint: str,
        text: Mapping[str, Any],
        length: int,
        seed: int,
        layers: int | str | None = None,
    ) -> Answer:
        """Begins an analysis."""
        return {"job": analyses.start(analyses.asked(checkpoint, text, length, seed, layers))}

    def progress(job: str) -> Answer:
        """How far a job is; its answer, when it is done."""
        found = analyses.jobs.get(job)
        answer = {"state": found.state, "share": found.share, "error": found.error}
        return answer | (found.answer if found.state == "done" else {})

    def cancel(job: str) -> Answer:
        """Gives a job up."""
        analyses.jobs.get(job).stop.set()
        return {}

    def tokens(id: str) -> Answer:
        """The text of every token."""
        capture = analyses.get(id).capture
        return {"tokens": capture.labels(0, capture.length)}

    return [choices, start, progress, cancel, tokens]
