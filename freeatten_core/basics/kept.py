"""What a call keeps for the next one, and whether that is of the same call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences"]

MOST_NAMED = 3
"""Differences in one sentence; the others are counted."""
CHARACTERS = 40
"""Of a value that is shown."""
DIGEST = "sha256"
_DIGEST = re.compile("[0-9a-f]{64}")
_CONTAINERS = ("recipe", "text", "sources")
"""Levels that go without saying: `seed`, not `seed of recipe`."""


def differences(kept: Any, asked: Any, words: str = "{} was {} and is {} now") -> str:
    """What differs between two values of JSON, with both, as part of a sentence; empty if nothing.

    A digest that differs stands for whatever else differs beside it.

    Args:
        words: how one difference is told: its name, the one value and the other.
    """
    found = list(_differing(kept, asked, ()))
    named = [words.format(_named(path), _shown(was), _shown(now)) for path, was, now in found]
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more


def _differing(kept: Any, asked: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(kept, Mapping) and isinstance(asked, Mapping):
        keys = list(dict.fromkeys([*asked, *kept]))
        if kept.get(DIGEST) != asked.get(DIGEST):
            keys = [DIGEST]
        for key in keys:
            yield from _differing(kept.get(key), asked.get(key), (*path, key))
    elif isinstance(kept, list) and isinstance(asked, list) and len(kept) == len(asked):
        for was, now in zip(kept, asked, strict=True):
            if _label(was) != _label(now):
                yield (*path, "source"), _label(was), _label(now)
            else:
                yield from _differing(was, now, (*path, *filter(None, [_label(now)])))
    elif kept != asked:
        yield path, kept, asked


def _named(path: tuple[str, ...]) -> str:
    words = [word for word in path if word not in _CONTAINERS] or list(path)
    return " of ".join(reversed(words))


def _label(value: Any) -> str | None:
    """What an element of a list is called: a source or a package."""
    return value.get("source", value.get("name")) if isinstance(value, Mapping) else None


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    parts = value if isinstance(value, list) else [value]
    text = ", ".join(str(_label(part) or part) for part in parts)
    if _DIGEST.fullmatch(text):
        return f"{text[:12]}…"
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
