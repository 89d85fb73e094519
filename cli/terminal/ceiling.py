"""The share of the ceiling's gain that rows reach, as `freeatten compare --ceiling` prints it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from freeatten_core.results.ceiling import CEILING_RULE, ceiling_text, share_lengths, share_text
from freeatten_core.results.format import Entry, Result, percent

from .tables import Cell, grid_of

__all__ = ["ceiling_view"]


def ceiling_view(result: Result, width: int) -> RenderableType:
    """Of every row but the ceiling, by length."""
    lengths = share_lengths(result)
    rows = [row for row in result["variants"] if "ceiling_share" in row]
    places = [result["lengths"].index(length) for length in lengths]
    shown = {**result, "variants": rows, "lengths": lengths}
    title = f"Share of the ceiling's gain, % ({ceiling_text(result)})"
    grid = grid_of(shown, title, [[_cell(row, at) for at in places] for row in rows], {})
    return Group(grid.renderable(width), Text(CEILING_RULE, style="dim"))


def _cell(row: Entry, at: int) -> Cell:
    value, interval = row["ceiling_share"][at], row["ceiling_share_ci95"][at]
    text = percent(value).replace("-", "−")
    return Cell(text, share_text(value, interval).removeprefix(text))
