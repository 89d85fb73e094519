"""Figures of the library as the pages draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freeatten_core.figures.canvas import Drawing, Theme

__all__ = ["LAYOUTS", "drawings", "legend", "sentence"]

LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "wide": {"width": 620},
    "phone": {"width": 340, "labels": False},
}
"""Arguments of the figures by the page's layout; the page stretches each to its own width."""

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


def legend(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Name, colour, dash and sign of every row's line."""
    from freeatten_core.figures.styles import row_labels, row_styles

    return [
        {
            "label": label.replace("<br>", " "),
            "color": style.color,
            "dash": style.dash,
            "sign": style.sign,
        }
        for label, style in zip(row_labels(rows), row_styles(rows), strict=True)
    ]


def sentence(text: str) -> str:
    """A reading as a sentence of the page."""
    return f"{text[0].upper()}{text[1:]}."
