"""In the tab Map, the loss of every token of the text that is read."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..server.analyses import Analyses, Analysis
from ..server.answers import Answer
from ..server.jobs import Advance
from .command import command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["functions"]


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def start_losses(id: str) -> Answer:
        """Begins to score every token of an analysis."""
        found = analyses.get(id)
        return {
            "job": analyses.jobs.start(
                "analysis", lambda advance: _scored(analyses, found, advance)
            )
        }

    def loss_command(id: str) -> Answer:
        """The command that draws the loss over the position in a terminal."""
        analysis = analyses.get(id)
        model = analyses.models.option(analysis.asked.checkpoint)
        words = ["--checkpoint", model, "--statistic", "loss"]
        return {"command": command("entropy", words, analyses, analysis)}

    return [start_losses, loss_command]


def _scored(analyses: Analyses, found: Analysis, advance: Advance) -> Answer:
    """Loss and Δ by token, float32 as base64."""
    from freeatten_core.basics.progress import Meter
    from freeatten_core.measures.by_token import losses_by_token, token_cost

    capture = found.capture
    row = analyses.models.row(found.asked.checkpoint)
    advance(0, 1)
    meter = Meter(token_cost(capture.length, row.restart_length), advance)
    model = row.model.with_modifiers(row.variant, capture.length)
    losses = losses_by_token(
        model.token_losses,
        capture.tokens,
        row.restart_length,
        device=model.device,
        advance=meter.add,
    )
    return {"loss": _text(losses.loss), "delta": _text(losses.delta)}


def _text(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")
