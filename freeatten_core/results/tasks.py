"""The synthetic tasks, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["task_sentence", "task_title"]

_WORDS = {
    "recall": (
        "associative recall",
        "answers queries about {pairs} key-value pairs among filler",
        "{keys} keys, {values} values, a token for every pair of them, {fillers} fillers; "
        "`freeatten_core/data/tasks/recall.py` makes the sequences.",
    ),
}
_LANGUAGES = {
    "even-pairs": "whether the pairs 01 and 10 in a string of bits are even in number",
    "modular-arithmetic": "the value modulo 5 of digits joined by +, − and ×",
    "parity-check": "whether the ones in a string of bits are even in number",
    "cycle-navigation": "where on a cycle of five some steps lead",
}
_OF_LANGUAGE = "`freeatten_core/data/tasks/languages.py` makes the strings."


def task_title(kind: str) -> str:
    """`associative recall`, and the name of a language."""
    return kind.replace("-", " ") if kind in _LANGUAGES else _WORDS[kind][0]


def task_sentence(task: Mapping[str, Any], length: str) -> tuple[str, str]:
    """What a model of a task does, and what its tokens are.

    Args:
        task: as its checkpoint's `config.json` has it.
        length: that it was trained at, in words.
    """
    kind = task["kind"]
    if kind in _LANGUAGES:
        return f"says {_LANGUAGES[kind]}, trained on strings within {length} tokens", _OF_LANGUAGE
    _, does, tokens = _WORDS[kind]
    return f"{does.format(**task)}, trained at {length} tokens", tokens.format(**task)
