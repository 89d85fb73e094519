"""Names and sentences broken to fit above a panel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["short_lines"]

BREAKS = (r"(?<= )", r"(?=[+:\[])|(?<=-)|(?<=[^<]/)", r"(?<==)")
"""Where a heading may be broken: at spaces, in a name that alone is too long where a part of it
begins, in such a part behind its `=`."""


def short_lines(text: str, most: int) -> list[str]:
    """A text as lines of so many letters, if it has places for that."""
    lines = [""]
    for piece in _pieces(text, most, BREAKS):
        if lines[-1] and _letters(lines[-1] + piece) > most:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]


def _pieces(text: str, most: int, breaks: Sequence[str]) -> Iterator[str]:
    if _letters(text) <= most or not breaks:
        yield text
        return
    for part in filter(None, re.split(breaks[0], text)):
        yield from _pieces(part, most, breaks[1:])


def _letters(text: str) -> int:
    return len(re.sub("</?b>", "", text).rstrip())
