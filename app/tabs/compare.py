"""The tab Compare: stored results, new ones, and the chart library that draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ..server.answers import Answer, choice_of
from ..server.comparisons import Comparisons

if TYPE_CHECKING:
    from freeatten_core.results.format import Result

__all__ = ["comparison", "functions", "plotly", "results"]


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

    return [results, comparison, start_comparison, made_comparison, plotly]


@cache
def results() -> Answer:
    """The story, the stored results, the first one to be shown first, and the paper's."""
    from . import comparison_view, evidence

    return {
        "story": evidence.story(),
        "results": comparison_view.choices(_stored()),
        "paper": comparison_view.paper_table(),
    }


def comparison(name: str) -> Answer:
    """One stored result as figures, lines and tables."""
    return _shown(choice_of("the result", name, list(_stored())))


@cache
def _stored() -> Mapping[str, Result]:
    from freeatten_core.results.stored import all_comparisons

    return all_comparisons()


@cache
def _shown(name: str) -> Answer:
    from . import comparison_view

    return comparison_view.comparison(name, _stored()[name])


def plotly() -> Answer:
    """The chart library: as an answer it is behind the same login as everything else."""
    from plotly.offline import get_plotlyjs

    return {"script": get_plotlyjs()}
