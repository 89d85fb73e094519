"""Training files that repeat evaluation text, and leaving them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .documents import Document

__all__ = ["counted_lines", "without_overlap"]

OVERLAP_LINE = 25
"""Lines longer than this many characters count when two files are compared."""
OVERLAP_SHARE = 0.30
"""A training file that shares this share of its counted lines is dropped."""


def counted_lines(text: str) -> list[str]:
    """The lines that count when files are compared, without surrounding blanks."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if len(line) > OVERLAP_LINE]


def without_overlap(
    documents: Iterable[Document], held_out: Iterable[Document]
) -> tuple[list[Document], dict[str, str]]:
    """Drop documents that share 30 % or more of their counted lines with held-out text.

    Returns:
        The documents kept, and by the name of each dropped the held-out one it shares most with.
    """
    holder = {line: held.name for held in held_out for line in counted_lines(held.text)}
    kept, dropped = [], dict[str, str]()
    for document in documents:
        lines = counted_lines(document.text)
        holders = Counter(holder[line] for line in lines if line in holder)
        if lines and holders.total() >= OVERLAP_SHARE * len(lines):
            dropped[document.name] = holders.most_common(1)[0][0]
        else:
            kept.append(document)
    return kept, dropped
