"""Charts in the terminal: the one place that knows plotext 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def line_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, width: int
) -> str:
    return title
