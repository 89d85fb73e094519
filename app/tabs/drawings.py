"""Figures of the library as the pages draw them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.figures.canvas import Theme

__all__ = ["drawings"]

THEMES: tuple[Theme, ...] = ("light", "dark")


def drawings(
    draw: Callable[..., go.Figure], layouts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A figure for every layout and theme.

    Args:
        draw: makes the figure from a title, a theme and the arguments of a layout.
        layouts: those arguments, by the layout's name.

    Returns:
        `data`, the lines, which are the same in all, and `layouts` by theme and name.
    """
    made = {
        theme: {
            name: _plain(draw(title="", theme=theme, **given)) for name, given in layouts.items()
        }
        for theme in THEMES
    }
    return {
        "data": next(iter(made[THEMES[0]].values()))["data"],
        "layouts": {
            theme: {name: figure["layout"] for name, figure in by_name.items()}
            for theme, by_name in made.items()
        },
    }


def _plain(figure: go.Figure) -> Any:
    figure.update_layout(template="none", dragmode=False)
    return json.loads(cast(str, figure.to_json()))
