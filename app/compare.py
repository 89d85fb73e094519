"""The tab Compare: stored results, new ones, and the chart library that draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .answers import Answer, choice_of
from .comparing import Comparisons
from .markup import stronger

FIRST = "stdlib-16x"
"""The stored result that a page opens with."""


def functions(comparisons: Comparisons) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def start_comparison(
        checkpoints: list[str], text: Mapping[str, Any], longest: int, seed: int
    ) -> Answer:
        """Begins a comparison of chosen checkpoints on any text."""
        asked = comparisons.asked(checkpoints, text, longest, seed)
        return {"job": comparisons.start(asked)}

    def made_comparison(id: str) -> Answer:
        """What such a comparison found, as a stored result is shown."""
        from . import stored

        return stored.scored(comparisons.get(id))

    return [component, results, comparison, start_comparison, made_comparison, plotly]


def component() -> Answer:
    """The style and script of maps and thumbnails."""
    from freeatten_core.mapview import component_script, component_style

    return {"style": stronger(component_style()), "script": component_script()}


def results() -> Answer:
    """The stored results, the first one to be shown first, and the paper's."""
    from . import stored

    found = stored.comparisons()
    order = sorted(found, key=lambda name: name != FIRST)
    return {
        "results": [{"id": name, "label": stored.label(found[name])} for name in order],
        "paper": stored.paper_table(),
    }


def comparison(name: str) -> Answer:
    """One stored result as figures, lines and tables."""
    from . import stored

    found = stored.comparisons()
    return stored.comparison(found[choice_of("the result", name, list(found))])


def plotly() -> Answer:
    """The chart library: as an answer it is behind the same login as everything else."""
    from plotly.offline import get_plotlyjs

    return {"script": get_plotlyjs()}
