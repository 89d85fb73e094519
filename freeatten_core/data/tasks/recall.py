"""Associative recall: pairs among filler, and queries of their keys.

After multi-query associative recall (MQAR, arXiv 2312.04927), with one change. There, a pair is a
key and a value in two tokens, so that a model needs a head that looks one token back before it can
look anything up. Here a pair is one token (there is one for every key and value), so nothing is
asked but to find it: the sequence is filler in random order, in its first half `pairs` tokens of
different keys at random places, in its second half each of those keys once, alone, as a query. At
a query the answer is the value that its key was paired with; nothing else is scored. An answer is
never shown, and a guess is right once in `values` times.

The number of pairs and of queries is the same at every length: a longer sequence has more filler
and larger distances, and asks the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .task import Integers, Sequences, Task

__all__ = ["PairsTask", "RecallTask", "places"]


@dataclass(frozen=True)
class PairsTask(Task):
    """Tokens are numbered: fillers, pairs, query keys, answers."""

    keys: int = 32
    values: int = 16
    fillers: int = 64

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


@dataclass(frozen=True)
class RecallTask(PairsTask):
    """Every pair is asked about once."""

    pairs: int = 16
    """In one sequence, of different keys."""

    @property
    def kind(self) -> str:
        return "recall"

    @property
    def shortest(self) -> int:
        """All pairs in its first half, all queries in its second."""
        return 2 * self.pairs

    @property
    def needs(self) -> str:
        return f"recall of {self.pairs} pairs"

    def refusal(self) -> str | None:
        if self.pairs <= self.keys:
            return None
        return f"has {self.pairs} pairs of different keys, and {self.keys} keys"

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        half = length // 2
        tokens = rng.integers(0, self.fillers, (count, length))
        keys = places(rng, count, self.keys, self.pairs, in_order=False)
        values = rng.integers(0, self.values, (count, self.pairs))
        shown = places(rng, count, half, self.pairs, in_order=True)
        asked = half + places(rng, count, length - half, self.pairs, in_order=True)
        which = places(rng, count, self.pairs, self.pairs, in_order=False)
        np.put_along_axis(tokens, shown, self.first_pair + keys * self.values + values, axis=1)
        queries = self.first_query + np.take_along_axis(keys, which, axis=1)
        np.put_along_axis(tokens, asked, queries, axis=1)
        return Sequences(
            tokens,
            asked,
            self.first_answer + np.take_along_axis(values, which, axis=1),
            asked - np.take_along_axis(shown, which, axis=1),
        )


def places(
    rng: np.random.Generator, count: int, among: int, wanted: int, *, in_order: bool
) -> Integers:
    """`wanted` different numbers below `among` in each of `count` rows."""
    drawn = np.argsort(rng.random((count, among)), axis=1)[:, :wanted]
    return np.sort(drawn, axis=1) if in_order else drawn
