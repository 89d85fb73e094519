"""The tab Compare: stored results, new ones, and the chart library that draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..pages.markup import stronger
from ..server.answers import Answer, choice_of
from ..server.comparisons import Comparisons

__all__ = ["comparison", "component", "functions", "plotly", "results"]


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
        from . import comparison_view

        return comparison_view.scored(comparisons.get(id))

    return [component, results, comparison, start_comparison, made_comparison, plotly]


def component() -> Answer:
    """The style and script of maps and thumbnails."""
    from freeatten_core.mapview import component_script, component_style

    return {"style": stronger(component_style()), "script": component_script()}


def results() -> Answer:
    """The story, the stored results, the first one to be shown first, and the paper's."""
    from freeatten_core.results.stored import all_comparisons

    from . import comparison_view, evidence

    return {
        "story": evidence.story(),
        "results": comparison_view.choices(all_comparisons()),
        "paper": comparison_view.paper_table(),
    }


def comparison(name: str) -> Answer:
    """One stored result as figures, lines and tables."""
    from freeatten_core.results.stored import all_comparisons

    from . import comparison_view

    found = all_comparisons()
    known = choice_of("the result", name, list(found))
    return comparison_view.comparison(known, found[known])


def plotly() -> Answer:
    """The chart library: as an answer it is behind the same login as everything else."""
    from plotly.offline import get_plotlyjs

    return {"script": get_plotlyjs()}
