"""The tab Entropy: a statistic of every head, and its curve against position."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from ..server.analyses import Analyses, Analysis
from ..server.answers import Answer, choice_of
from .command import command

__all__ = ["functions"]

POINTS = 256


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def curves(id: str, statistic: str) -> Answer:
        """A statistic by position for every head, its means, and the share of sinks."""
        from freeatten_core.analysis import STATISTICS, by_position, entropy_note, sink_rate
        from freeatten_core.analysis.rows import SINK_LENGTH
        from freeatten_core.figures.styles import style_of

        name = cast(Any, choice_of("the statistic", statistic, list(STATISTICS)))
        analysis = analyses.get(id)
        capture = analysis.capture
        found = {layer: by_position(capture, name, layer, POINTS) for layer in capture.layers}
        style = style_of(capture.label)
        model = analyses.models.option(analysis.asked.checkpoint)
        words = ["--checkpoint", model, "--statistic", name]
        words += _layers(analysis)
        return {
            "color": style.color,
            "dash": style.dash,
            "note": entropy_note(capture),
            "sinks": sink_rate(capture).share if capture.length >= SINK_LENGTH else None,
            "positions": next(iter(found.values()))[0].tolist(),
            "heads": [
                {
                    "layer": layer,
                    "head": head,
                    "values": _numbers(line),
                    "command": command(
                        "entropy",
                        [*words, "--layer", str(layer), "--head", str(head)],
                        analyses,
                        analysis,
                    ),
                }
                for layer, (_, lines) in found.items()
                for head, line in enumerate(lines.tolist())
            ],
            "command": command("entropy", words, analyses, analysis),
        }

    return [curves]


def _layers(analysis: Analysis) -> list[str]:
    """The command's words for layers of a model of others that are not those it takes unasked."""
    asked = analysis.asked.layers
    return [] if analysis.capture.train_length or asked is None else ["--layers", str(asked)]


def _numbers(values: list[float]) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
