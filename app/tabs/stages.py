"""The tab Stages: one row from score to weight, with other powers and fewer keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..server.analyses import Analyses, checked_head
from ..server.answers import Answer
from .command import command

if TYPE_CHECKING:
    from torch import Tensor

    from freeatten_core.variants.stages import Stages

__all__ = ["functions"]

MOST_POINTS = 600
STRONGEST = 12
SCORES = {
    "dot": "s = q·k / √D",
    "length-cosine": "s = log D · log N · cos(q, k)",
    "dim-cosine": "s = log D · cos(q, k)",
    "count-cosine": "s = log N · cos(q, k)",
    "cosine": "s = a number · cos(q, k)",
    "dot-log-n": "s = q·k / √D − log N",
}
POSITIVITIES = {
    "exp": "f = eˢ",
    "softplus": "f = log(1 + eˢ)",
    "sigmoid": "f = 1 / (1 + e⁻ˢ)",
    "relu": "f = max(s, 0)",
    "softpick": "f = max(eˢ − 1, 0)",
    "entmax15": "f = max(s / 2 − τ, 0)²",
}
NORMALISATIONS = {
    "l1": "a = f / Σ f",
    "off-by-one": "a = f / (1 + Σ f)",
    "absolute": "a = f / Σ |eˢ − 1|",
    "count": "a = f / N",
    "none": "a = f",
    "stick-breaking": "a = f · Π (1 − f) of nearer keys, the rest to the row's own",
}


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def stages(
        id: str, layer: int, head: int, position: int, power: int | None, last: int | None
    ) -> Answer:
        """A row's values after every stage."""
        from freeatten_core.analysis import row_stages
        from freeatten_core.variants.stages import stages_of

        analysis = analyses.get(id)
        capture = analysis.capture
        layer, head = checked_head(capture, layer, head)
        own = stages_of(capture.variant.computes)
        if not own.can_sharpen:
            power = None  # nothing to sharpen: the slider still stands where another model had it
        row = row_stages(
            capture, layer, head, position, power="own" if power is None else power, last=last
        )
        model = analyses.models.option(analysis.asked.checkpoint)
        words = ["--checkpoint", model, "--layer", str(layer)]
        words += ["--head", str(head), "--position", str(position)]
        words += [] if power is None else ["--power", str(power)]
        words += [] if last is None else ["--last", str(last)]
        count, keys = row.count, row.keys.tolist()
        shown = row.score, row.positivity, count * row.normalise, row.weights
        return {
            "variant": str(row.stages),
            "count": count,
            "token": capture.labels(position, position + 1)[0],
            "formulas": _formulas(row.stages),
            "stages": [_binned(stage, keys) for stage in shown],
            "zeros": int((row.weights == 0).sum()),
            "strongest": [
                {
                    "key": keys[at],
                    "token": capture.labels(keys[at], keys[at] + 1)[0],
                    "values": [float(stage[at]) for stage in shown],
                }
                for at in row.weights.topk(min(STRONGEST, count)).indices.tolist()
            ],
            "sharpens": row.stages.can_sharpen,
            "offset": None if row.stages.sharpen is None else row.offset,
            "own": own.sharpen,
            "command": command("stages", words, analyses, analysis),
        }

    return [stages]


def _formulas(stages: Stages) -> list[str]:
    last = "w = a"
    if stages.sharpen is not None:
        last = f"w ∝ max(0, N·a − O)^{stages.sharpen}, Σ w = 1"
    normalised = f"{NORMALISATIONS[stages.normalise]}, shown as N·a"
    return [SCORES[stages.score], POSITIVITIES[stages.positivity], normalised, last]


def _binned(values: Tensor, keys: Sequence[int]) -> list[list[float | None]]:
    """Key positions, and the largest value of each stretch: peaks stay visible."""
    import torch

    size = math.ceil(len(values) / MOST_POINTS)
    parts = torch.split(values, size)
    places = [keys[at * size + int(part.argmax())] for at, part in enumerate(parts)]
    tops = [float(part.max()) for part in parts]
    return [list(places), [top if math.isfinite(top) else None for top in tops]]
