"""Figures of the library as the pages draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freeatten_core.figures.canvas import Drawing, Theme

__all__ = ["LAYOUTS", "changes", "drawings", "legend", "sentence"]

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
        `data`, the lines, which are the same in all, `layouts` by name, and what is else in the
        `dark` ones: most is not, and a page gets all of them.
    """
    light, dark = (
        {name: draw(title="", theme=theme, **given) for name, given in layouts.items()}
        for theme in THEMES
    )
    by_name = {name: each["layout"] | STILL for name, each in light.items()}
    return {
        "data": next(iter(light.values()))["data"],
        "layouts": by_name,
        "dark": {
            name: changes(layout, dark[name]["layout"] | STILL) for name, layout in by_name.items()
        },
    }


def changes(one: Any, other: Any) -> Any:
    """What makes of a part of a figure that of another theme, as the page's `changed` puts it in.

    Of mappings and sequences the keys or places of what differs, of anything else the other itself.
    """
    if isinstance(one, Mapping):
        found = {key: (value, other[key]) for key, value in one.items() if value != other[key]}
    elif isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        found = {str(at): pair for at, pair in enumerate(pairs) if pair[0] != pair[1]}
    else:
        return other
    return {key: changes(*pair) for key, pair in found.items()}


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
