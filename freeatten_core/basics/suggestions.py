"""What a mistyped word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["closest", "closest_path"]


def closest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` resembles most, in any case; None when none is close."""
    lowered = {each.lower(): each for each in reversed(known)}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[close[0]] if close else None


def closest_path(
    text: str, path: Path, is_wanted: Callable[[Path], bool], words: Sequence[str] = ()
) -> str | None:
    """What lies beside a path that does not exist and is called nearly so, as it is typed.

    Args:
        text: the path as it was typed.
        path: the same with `~` resolved.
        is_wanted: whether a file or folder can be meant.
        words: what a name without a folder can also be.
    """
    typed = Path(text)
    if not typed.name:
        return None
    try:
        names = [each.name for each in path.parent.iterdir() if is_wanted(each)]
    except OSError:  # no such folder, or one that cannot be read
        names = []
    alone = typed.parent == Path() and text == typed.name
    found = closest(typed.name, [*(words if alone else ()), *sorted(names)])
    return found if found is None or alone else str(typed.with_name(found))
