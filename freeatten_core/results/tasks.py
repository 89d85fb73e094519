"""The synthetic tasks, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["asked", "task_question", "task_sentence", "task_title"]

Sizes = Mapping[str, Any]
"""A task as its checkpoint's `config.json` has it."""


class _Words(NamedTuple):
    """With the sizes of the task to be filled in."""

    title: str
    does: str
    """What a model of it does, behind `that`."""
    tokens: str
    asks: str
    """What a sequence holds."""
    question: str


_WORDS = {
    "recall": _Words(
        "associative recall",
        "answers queries about {pairs} key-value pairs among filler",
        "{keys} keys, {values} values, a token for every pair of them, {fillers} fillers",
        "{pairs} pairs and as many queries at every length",
        "Does it find one of {pairs} pairs among more and more filler?",
    ),
    "mqar": _Words(
        "multi-query associative recall",
        "answers queries about {pairs} keys, each with its value in the token behind it",
        "{vocabulary} tokens, half of them values",
        "{pairs} pairs of two tokens and as many queries at every length, most of them near",
        "Does it find one of {pairs} two-token pairs among more and more random tokens?",
    ),
    "forgetting": _Words(
        "recall with forgetting",
        "answers queries about the last value that a key was given",
        "{keys} keys, {values} values, a token for every pair of them, {fillers} fillers",
        "{pairs} pairs of {keys} keys and {queries} queries at every length; the last pair of a "
        "key counts",
        "Does it find the last value of a key, and not an earlier one?",
    ),
    "passkey": _Words(
        "passkey",
        "reads {digits} digits once and says them at the end",
        "a sentence of {fillers} tokens that repeats, a mark, a question, ten digits",
        "{digits} digits at every length, each scored with those before it given",
        "Does it find {digits} digits in more and more filler?",
    ),
    "flip-flop": _Words(
        "flip-flop",
        "says the bit that was written last",
        "write, read, ignore, and two bits",
        "{writes} writes and {reads} reads at every length, all else to be ignored",
        "Does it hold a written bit over more and more that does not count?",
    ),
}
_LANGUAGES = {
    "even-pairs": "whether the pairs 01 and 10 in a string of bits are even in number",
    "modular-arithmetic": "the value modulo 5 of digits joined by +, − and ×",
    "parity-check": "whether the ones in a string of bits are even in number",
    "cycle-navigation": "where on a cycle of five some steps lead",
}
_FOLDER = "freeatten_core/data/tasks"


def task_title(kind: str) -> str:
    """`associative recall`, and the name of a language."""
    return kind.replace("-", " ") if kind in _LANGUAGES else _WORDS[kind].title


def task_sentence(task: Sizes, length: str) -> tuple[str, str]:
    """What a model of a task does, and what its tokens are.

    Args:
        length: that it was trained at, in words.
    """
    kind = task["kind"]
    if kind in _LANGUAGES:
        does = f"says {_LANGUAGES[kind]}, trained on strings within {length} tokens"
        return does, f"`{_FOLDER}/languages.py` makes the strings."
    words, file = _WORDS[kind], kind.replace("-", "_")
    does = f"{words.does.format(**task)}, trained at {length} tokens"
    tokens = words.tokens.format(**task)
    return does, f"{tokens[0].upper()}{tokens[1:]}; `{_FOLDER}/{file}.py` makes the sequences."


def asked(task: Sizes) -> str:
    """What every sequence of a task holds."""
    return _WORDS[task["kind"]].asks.format(**task)


def task_question(task: Sizes) -> str:
    """The question that its accuracies answer."""
    return _WORDS[task["kind"]].question.format(**task)
