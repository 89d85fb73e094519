"""Multi-query associative recall: a pair is a key and a value in two tokens.

As zoology has it (Arora et al., arXiv 2312.04927; their code: github.com/HazyResearch/zoology,
`data/multiquery_ar.py`): pairs of different keys and different values stand at the start, then
each key once, alone, at a gap from there that is drawn with p ∝ g^−0.99 of two-token slots, so
that most are near; all else is random tokens. The answer at a key is its value, which is not
shown again. A model has to join a value to the key before it, then find it.

Training mixes lengths: a third of a batch has the whole length and number of pairs, a third half
of both, a third a quarter. The source mixes five sizes, from 64 tokens with 4 pairs to 256 with
64, each batch of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .task import UNSCORED, Integers, Sequences, Task

__all__ = ["MqarTask"]

POWER = -0.99
"""Of the gap, in the probability of a query."""
MIXED = (1, 2, 4)
"""What length and pairs are divided by in training."""


@dataclass(frozen=True)
class MqarTask(Task):
    """Keys are tokens below half of the vocabulary, values the others; token 0 is neither."""

    vocabulary: int = 8192
    pairs: int = 16
    """In one sequence, of different keys."""

    @property
    def kind(self) -> str:
        return "mqar"

    @property
    def vocab_size(self) -> int:
        return self.vocabulary

    @property
    def first_answer(self) -> int:
        return self.vocabulary // 2

    @property
    def shortest(self) -> int:
        """Two tokens for every pair, and for every query."""
        return 4 * self.pairs

    @property
    def needs(self) -> str:
        return f"mqar of {self.pairs} pairs"

    def refusal(self) -> str | None:
        if self.pairs < self.first_answer:
            return None
        return f"has {self.pairs} pairs of different keys, and {self.first_answer - 1} keys"

    def training(self, length: int, count: int, key: tuple[int, ...]) -> tuple[Integers, Integers]:
        tokens = np.zeros((count, length), dtype=np.int64)
        targets = np.full_like(tokens, UNSCORED)
        for index, (part, size) in enumerate(
            zip(np.array_split(np.arange(count), len(MIXED)), MIXED, strict=True)
        ):
            smaller = replace(self, pairs=max(1, self.pairs // size))
            drawn = smaller.draw(max(length // size, smaller.shortest), len(part), (*key, index))
            width = drawn.tokens.shape[1]
            tokens[part, :width], targets[part, :width] = drawn.tokens, drawn.targets()
        return tokens, targets

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        tokens = rng.integers(0, self.vocabulary, (count, length))
        keys = 1 + _distinct(rng, count, self.first_answer - 1, self.pairs)
        values = self.first_answer + _distinct(
            rng, count, self.vocabulary - self.first_answer, self.pairs
        )
        shown = 2 * self.pairs
        tokens[:, 0:shown:2], tokens[:, 1:shown:2] = keys, values
        asked = shown + 2 * self._gaps((length - shown) // 2, count, rng)
        np.put_along_axis(tokens, asked, keys, axis=1)
        return Sequences(tokens, asked, values, asked - np.arange(1, shown, 2))

    def _gaps(self, slots: int, count: int, rng: np.random.Generator) -> Integers:
        """Different slots of each row, drawn one after the other with p ∝ g^−0.99."""
        chances = POWER * np.log(np.arange(1, slots + 1))
        # the largest of logarithms with Gumbel noise are a draw without replacement
        drawn = chances + rng.gumbel(size=(count, slots))
        return np.argsort(-drawn, axis=1)[:, : self.pairs]


def _distinct(rng: np.random.Generator, count: int, among: int, wanted: int) -> Integers:
    """`wanted` different numbers below `among` in each of `count` rows, in random order."""
    order = rng.random((count, among))
    # the smallest first, in no order among themselves; all, where all are wanted
    found = np.argpartition(order, min(wanted, among - 1), axis=1)[:, :wanted]
    return rng.permuted(found, axis=1)
