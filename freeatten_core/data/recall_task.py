"""Associative recall: the sequences of a synthetic task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freeatten_core.basics.errors import UsageError

__all__ = [
    "KIND",
    "LARGEST",
    "TEST",
    "TRAINING",
    "UNSCORED",
    "VALIDATION",
    "RecallTask",
    "Sequences",
    "draw",
]

KIND = "recall"
LARGEST = 1 << 12
"""Above this, a number of keys, values, fillers or pairs is a mistake."""

TRAINING, VALIDATION, TEST = range(3)
"""Part of the key that sequences are drawn with, so that no part repeats another."""

Integers = NDArray[np.int64]


UNSCORED = -100
"""A target that does not count, as `cross_entropy` has it."""


@dataclass(frozen=True)
class RecallTask:
    """The sizes of the task. Tokens are numbered: fillers, pairs, query keys, answers."""

    keys: int = 32
    values: int = 16
    fillers: int = 64
    pairs: int = 16
    """In one sequence, of different keys."""

    @property
    def first_pair(self) -> int:
        return self.fillers

    @property
    def first_query(self) -> int:
        return self.first_pair + self.keys * self.values

    @property
    def first_answer(self) -> int:
        return self.first_query + self.keys

    @property
    def vocab_size(self) -> int:
        return self.first_answer + self.values

    @property
    def shortest(self) -> int:
        """The least length: all pairs in its first half, all queries in its second."""
        return 2 * self.pairs

    def as_json(self) -> dict[str, Any]:
        return {"kind": KIND, **asdict(self)}


@dataclass(frozen=True)
class Sequences:
    """Sequences of one length, and what is asked in them."""

    tokens: Integers
    """(count, length)."""
    queries: Integers
    """Positions of the queries, ascending, (count, pairs)."""
    answers: Integers
    """The tokens that answer them, (count, pairs)."""
    distances: Integers
    """How far back the pair of each query is, (count, pairs)."""

    def targets(self) -> Integers:
        """(count, length): the answer where there is a query, else `UNSCORED`."""
        targets = np.full_like(self.tokens, UNSCORED)
        np.put_along_axis(targets, self.queries, self.answers, axis=1)
        return targets


def draw(task: RecallTask, length: int, count: int, key: tuple[int, ...]) -> Sequences:
    """Sequences that depend on the arguments alone.

    Args:
        key: numbers, of which other ones give other sequences.

    Raises:
        UsageError: a length that cannot hold the pairs and the queries.
    """
    if length < task.shortest:
        raise UsageError(
            f"recall of {task.pairs} pairs needs at least {task.shortest} tokens; the length is "
            f"{length}"
        )
    rng = np.random.default_rng(key)
    half = length // 2
    tokens = rng.integers(0, task.fillers, (count, length))
    keys = _places(rng, count, task.keys, task.pairs, in_order=False)
    values = rng.integers(0, task.values, (count, task.pairs))
    shown = _places(rng, count, half, task.pairs, in_order=True)
    asked = half + _places(rng, count, length - half, task.pairs, in_order=True)
    which = _places(rng, count, task.pairs, task.pairs, in_order=False)
    np.put_along_axis(tokens, shown, task.first_pair + keys * task.values + values, axis=1)
    queries = task.first_query + np.take_along_axis(keys, which, axis=1)
    np.put_along_axis(tokens, asked, queries, axis=1)
    return Sequences(
        tokens,
        asked,
        task.first_answer + np.take_along_axis(values, which, axis=1),
        asked - np.take_along_axis(shown, which, axis=1),
    )


def _places(
    rng: np.random.Generator, count: int, among: int, wanted: int, *, in_order: bool
) -> Integers:
    """`wanted` different numbers below `among` in each of `count` rows."""
    drawn = np.argsort(rng.random((count, among)), axis=1)[:, :wanted]
    return np.sort(drawn, axis=1) if in_order else drawn
