"""A grid of shaded cells with a text in each, as figures draw heads and distances."""

from __future__ import annotations

from collections.abc import Sequence

from .canvas import Element, Look, Panel

__all__ = ["HURTING_SHADE", "RIGHT_SHADE", "cells"]

HURTING_SHADE = "213,94,0"
RIGHT_SHADE = "0,158,115"
MOST = 0.75
"""How much of its shade the strongest cell has: its text stays readable on both papers."""


def cells(
    panel: Panel,
    strength: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    hover: Sequence[Sequence[str]],
    shade: str,
    look: Look,
    size: int = 12,
) -> Element:
    """A heatmap of a panel whose axes count rows and columns.

    Args:
        strength: 0 to 1, rows × columns; None is an empty cell.
        texts, hover: of the same cells.
        shade: red, green, blue, as in `HURTING_SHADE`.
        size: of the texts, in pixels.
    """
    return {
        "type": "heatmap",
        "z": [list(row) for row in strength],
        "text": [list(row) for row in texts],
        "hovertext": [list(row) for row in hover],
        "hoverinfo": "text",
        "texttemplate": "%{text}",
        "textfont": {"color": look.text, "size": size},
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, f"rgba({shade},0)"], [1, f"rgba({shade},{MOST})"]],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "xaxis": f"x{panel.key}",
        "yaxis": f"y{panel.key}",
    }
