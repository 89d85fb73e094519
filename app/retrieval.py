"""The tab Retrieval: stored results of `freeatten retrieve`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .answers import Answer

MAKE = (
    "freeatten retrieve --task copy --len 16x --json",
    "freeatten retrieve --task recall --len 16x --json",
)


def functions() -> list[Callable[..., Answer]]:
    """What the page can call."""
    return [retrieval]


def retrieval() -> Answer:
    """The stored results as figures, and the commands that make new ones."""
    from freeatten_core.cards import retrieval_provenance, stored_results
    from freeatten_core.checkpoint import assets
    from freeatten_core.wording import retrieval_reading

    stored = stored_results(assets() / "results")
    found = [result for result in stored.values() if "task" in result]
    return {
        "make": list(MAKE),
        "results": [
            {
                "figures": {theme: _figure(result, theme) for theme in ("light", "dark")},
                "reading": retrieval_reading(result),
                "provenance": retrieval_provenance(result).replace("`", ""),
            }
            for result in found
        ],
    }


def _figure(result: dict[str, Any], theme: Any) -> Any:
    from freeatten_core.figures import copy_figure, recall_figure

    draw = copy_figure if result["task"] == "copy" else recall_figure
    figure = draw(result, theme=theme)
    figure.update_layout(template="none", dragmode=False)
    return json.loads(figure.to_json())
