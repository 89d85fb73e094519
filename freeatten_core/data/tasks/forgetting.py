"""Recall with forgetting: keys are given new values, and the last one wins.

As associative recall (`recall.py`), pair and query in one token each; but the first half of a
sequence pairs a few keys with values again and again, and what was said before has to give way.
An attention that finds every pair of a key is right only where it prefers the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .recall import PairsTask, places
from .task import Sequences

__all__ = ["ForgettingTask"]


@dataclass(frozen=True)
class ForgettingTask(PairsTask):
    """A key is paired several times."""

    keys: int = 8
    pairs: int = 24
    """In one sequence; keys are drawn for each anew."""
    queries: int = 16
    """Each of a key that was paired."""

    @property
    def kind(self) -> str:
        return "forgetting"

    @property
    def shortest(self) -> int:
        """All pairs in its first half, all queries in its second."""
        return 2 * max(self.pairs, self.queries)

    @property
    def needs(self) -> str:
        return f"forgetting of {self.pairs} pairs and {self.queries} queries"

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        half = length // 2
        tokens = rng.integers(0, self.fillers, (count, length))
        keys = rng.integers(0, self.keys, (count, self.pairs))
        values = rng.integers(0, self.values, (count, self.pairs))
        shown = places(rng, count, half, self.pairs, in_order=True)
        asked = half + places(rng, count, length - half, self.queries, in_order=True)
        np.put_along_axis(tokens, shown, self.first_pair + keys * self.values + values, axis=1)
        which = rng.integers(0, self.pairs, (count, self.queries))
        queried = np.take_along_axis(keys, which, axis=1)
        np.put_along_axis(tokens, asked, self.first_query + queried, axis=1)
        # of the pairs with a query's key, the last: the first of them, counted from the end
        same = (keys[:, None] == queried[:, :, None])[:, :, ::-1]
        last = self.pairs - 1 - same.argmax(axis=2)
        return Sequences(
            tokens,
            asked,
            self.first_answer + np.take_along_axis(values, last, axis=1),
            asked - np.take_along_axis(shown, last, axis=1),
        )
