"""What a model of others takes, told before a weight of it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..server.analyses import ALL_LAYERS, Analyses, Asked, attention, looked_into
from ..server.answers import Answer

if TYPE_CHECKING:
    from freeatten_core.analysis import Forecast
    from freeatten_core.models.transformers_model import Described

__all__ = ["functions"]

NO_TEXT = {"kind": "stdlib", "name": "", "content": ""}
"""A forecast hangs on the length of a text alone."""


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def start_forecast(checkpoint: str, length: int, layers: int | str | None) -> Answer:
        """Begins to foresee what looking into it takes."""
        asked = analyses.asked(checkpoint, NO_TEXT, length, 0, layers)
        return {"job": analyses.jobs.start("analysis", lambda _: _foreseen(analyses, asked))}

    return [start_forecast]


def _foreseen(analyses: Analyses, asked: Asked) -> Answer:
    """Layers, and what they take in words; no layers of a checkpoint of this project."""
    from freeatten_core.analysis import forecast_unread
    from freeatten_core.basics.devices import choose_device

    described = analyses.models.described(asked.checkpoint)
    if described is None:
        return {"attention": []}
    chosen: list[int] | None
    unasked = looked_into(described.layers)
    if asked.layers == ALL_LAYERS:
        chosen, where = None, f"all {len(described.layers)} layers with attention"
    else:
        layer = unasked if asked.layers is None else int(asked.layers)
        chosen, where = [layer], f"layer {layer}"
    device = choose_device(analyses.device)
    found = forecast_unread(described, asked.length, chosen, device=device)
    return {
        "attention": attention(described.layers, described.windows),
        "unasked": unasked,
        "fits": found.fits,
        "about": _about(described),
        "takes": f"Looking into {where} over {asked.length:,} tokens {_taking(found, described)}",
    }


def _about(described: Described) -> str:
    windowed = sum(window is not None for window in described.windows.values())
    declared = described.declared_length
    parts = [
        f"{described.parameters:,} parameters",
        f"{described.layer_count} layers"
        + (f", {len(described.layers)} of them with attention" if _has_others(described) else ""),
        f"{windowed} of them with a window" if windowed else "",
        f"declared for {declared:,} tokens" if declared else "which declares no length",
    ]
    return ", ".join(filter(None, parts))


def _has_others(described: Described) -> bool:
    return len(described.layers) < described.layer_count


def _taking(found: Forecast, described: Described) -> str:
    from freeatten_core.basics.progress import about

    weights = f"{described.weight_bytes / 1e9:.1f} GB of weights"
    memory = f"{found.bytes / 1e9:.1f} GB of memory"
    free = "" if found.available is None else f"{found.available / 1e9:.1f} GB are free"
    if not found.fits:
        return f"needs {memory}, weights included, and {free}"
    time = "" if found.seconds is None else f"{about(found.seconds)} and "
    return f"takes {time}{memory}{free and f' ({free})'}, once {_before(described, weights)}"


def _before(described: Described, weights: str) -> str:
    if described.is_fetched:
        return f"{weights} (in float32) are downloaded"
    if described.written_bytes is not None:
        return f"the file is converted, to {described.written_bytes / 1e9:.1f} GB on the disk"
    return f"{weights} are read"
