"""Figures of the library as the pages draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freeatten_core.figures.canvas import Drawing, Theme

__all__ = ["drawings"]

THEMES: tuple[Theme, ...] = ("light", "dark")
STILL = {"dragmode": False}
"""A chart that scrolls with its page."""


def drawings(
    draw: Callable[..., Drawing], layouts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A figure for every layout and theme.

    Args:
        draw: makes the figure from a title, a theme and the arguments of a layout.
        layouts: those arguments, by the layout's name.

    Returns:
        `data`, the lines, which are the same in all, and `layouts` by theme and name.
    """
    made = {
        theme: {name: draw(title="", theme=theme, **given) for name, given in layouts.items()}
        for theme in THEMES
    }
    return {
        "data": next(iter(made[THEMES[0]].values()))["data"],
        "layouts": {
            theme: {name: each["layout"] | STILL for name, each in by_name.items()}
            for theme, by_name in made.items()
        },
    }
