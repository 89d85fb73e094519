"""Attention maps as characters: two cells in one, or a grid with its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from freeatten_core.analysis import Region

__all__ = ["HIDDEN", "palette", "picture", "token_grid"]

SHADES = " ░▒▓█"
"""For terminals without colour."""
HIDDEN = "grey23"
LABEL = 12
FLOOR_LOG2 = -24.0


@cache
def palette() -> list[str]:
    """256 colours from dark to light, legible to the colour-blind."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    sampled = sample_colorscale("Cividis", [i / 255 for i in range(256)])
    channels = [tuple(round(part) for part in unlabel_rgb(color)) for color in sampled]
    return ["#{:02x}{:02x}{:02x}".format(*channel) for channel in channels]


def picture(region: Region, *, color: bool) -> Text:
    """A region with two rows of cells in every line of text."""
    rows, columns = region.codes.shape
    codes, hidden = region.codes.tolist(), region.hidden().tolist()

    def code(row: int, column: int) -> int | None:
        return None if row >= rows or hidden[row][column] else int(codes[row][column])

    lines = []
    for row in range(0, rows, 2):
        line = Text()
        for column in range(columns):
            line.append_text(_pair(code(row, column), code(row + 1, column), color=color))
        lines.append(line)
    return Text("\n").join(lines)


def token_grid(region: Region, labels: tuple[Sequence[str], Sequence[str]], *, color: bool) -> Text:
    """One line a query with its token in front, two characters a key, key tokens above.

    Args:
        region: a cell a token.
        labels: the tokens of its queries and of its keys.
    """
    queries, keys = labels
    lines = [_key_line(keys, depth) for depth in range(_depth(keys))]
    rows = zip(queries, region.values().tolist(), region.hidden().tolist(), strict=True)
    for query, weights, hidden in rows:
        line = Text(f"{_shown(query)[:LABEL]:>{LABEL}} ")
        for weight, is_hidden in zip(weights, hidden, strict=True):
            line.append_text(_cell(None if is_hidden else _code(weight), color=color))
        lines.append(line)
    return Text("\n").join(lines)


def _pair(upper: int | None, lower: int | None, *, color: bool) -> Text:
    if not color:
        return Text(SHADES[_shade(max(upper or 0, lower or 0))])
    return Text("▀", Style(color=_color(upper), bgcolor=_color(lower)))


def _cell(code: int | None, *, color: bool) -> Text:
    if not color:
        return Text(SHADES[_shade(code or 0)] * 2)
    return Text("  ", Style(bgcolor=_color(code)))


def _color(code: int | None) -> str:
    return HIDDEN if code is None else palette()[code]


def _shade(code: int) -> int:
    return math.ceil(code / 255 * (len(SHADES) - 1))


def _code(weight: float) -> int:
    if weight <= 0:
        return 0
    return max(0, min(255, round(255 * (math.log2(weight) - FLOOR_LOG2) / -FLOOR_LOG2)))


def _shown(token: str) -> str:
    """A token without line breaks or control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in token).strip() or "␠"


def _depth(keys: Sequence[str]) -> int:
    return min(6, max(len(_shown(key)) for key in keys))


def _key_line(keys: Sequence[str], depth: int) -> Text:
    letters = [_shown(key)[depth : depth + 1] or " " for key in keys]
    return Text(" " * (LABEL + 1) + "".join(f"{letter} " for letter in letters))
