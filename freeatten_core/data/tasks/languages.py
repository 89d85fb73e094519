"""Four regular languages: a string of symbols, and the state that a finite automaton ends in.

From Delétang et al., "Neural Networks and the Chomsky Hierarchy" (arXiv 2207.02098; their code:
github.com/google-deepmind/neural_networks_chomsky_hierarchy, `tasks/regular`). Every symbol
matters whatever its distance, so an attention that thins out over long strings cannot hide it.

A string is followed by one token that asks; the answer is a class. Strings that are trained on
have lengths drawn from 1 to the training length less that token, each of its own, on one canvas:
what stands behind the question is not seen by a causal model and not scored.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from .task import Integers, Sequences, Task

__all__ = [
    "LANGUAGES",
    "LONGEST_TRAINED",
    "CycleNavigation",
    "EvenPairs",
    "LanguageTask",
    "ModularArithmetic",
    "ParityCheck",
]

LONGEST_TRAINED = 40
"""Symbols of the longest string that is trained on."""
ASKS, VOCABULARY = 8, 16
"""The token that asks, and tokens in all: the same for every language, so that their models differ
in nothing. Symbols are the first tokens, answers the last."""
MODULUS = 5
"""Of the arithmetic, and the length of the cycle."""
PLUS, MINUS, TIMES = range(MODULUS, MODULUS + 3)


@dataclass(frozen=True)
class LanguageTask(Task):
    """A language; it has no sizes to choose."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many answers there are."""

    @abstractmethod
    def symbols(self, length: int, count: int, rng: np.random.Generator) -> Integers:
        """Random strings, (count, length)."""

    @abstractmethod
    def states(self, strings: Integers) -> Integers:
        """The class of every string's first 1, 2, 3, … symbols, of the shape of the strings."""

    def possible(self, lengths: Integers) -> Integers:
        """Those lengths, each shortened to one that the language has."""
        return lengths

    @property
    def vocab_size(self) -> int:
        return VOCABULARY

    @property
    def first_answer(self) -> int:
        return VOCABULARY - self.classes

    @property
    def shortest(self) -> int:
        """A symbol and the question."""
        return 2

    def strings(
        self, lengths: Integers, rng: np.random.Generator, width: int | None = None
    ) -> Sequences:
        """A string of each length and its question, on a canvas.

        Args:
            lengths: symbols of each string, (count,).
            width: tokens of the canvas; by default it just holds the longest.

        Returns:
            One query a string, as far from its first symbol as the string is long.
        """
        width = int(lengths.max()) + 1 if width is None else width
        tokens = np.full((len(lengths), width), ASKS, dtype=np.int64)
        tokens[:, :-1] = self.symbols(width - 1, len(lengths), rng)
        asked = self.possible(lengths)[:, None]
        answers = np.take_along_axis(self.states(tokens[:, :-1]), asked - 1, axis=1)
        tokens[np.arange(width) >= asked] = ASKS
        return Sequences(tokens, asked, self.first_answer + answers, asked)

    def training(self, length: int, count: int, key: tuple[int, ...]) -> tuple[Integers, Integers]:
        rng = np.random.default_rng(key)
        drawn = self.strings(rng.integers(1, length, count), rng, length)
        return drawn.tokens, drawn.targets()

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        return self.strings(np.full(count, length - 1), rng)


@dataclass(frozen=True)
class _BitsTask(LanguageTask):
    """One of two states after a string of bits."""

    @property
    def classes(self) -> int:
        return 2

    def symbols(self, length: int, count: int, rng: np.random.Generator) -> Integers:
        return rng.integers(0, 2, (count, length))


@dataclass(frozen=True)
class EvenPairs(_BitsTask):
    """Whether the pairs 01 and 10 in a string of bits are even (0) or odd (1) in number."""

    @property
    def kind(self) -> str:
        return "even-pairs"

    def states(self, strings: Integers) -> Integers:
        changes = strings[:, 1:] != strings[:, :-1]
        return np.pad(changes.cumsum(axis=1) % 2, ((0, 0), (1, 0)))


@dataclass(frozen=True)
class ParityCheck(_BitsTask):
    """Whether the ones in a string of bits are even (0) or odd (1) in number."""

    @property
    def kind(self) -> str:
        return "parity-check"

    def states(self, strings: Integers) -> Integers:
        return strings.cumsum(axis=1) % 2


@dataclass(frozen=True)
class CycleNavigation(LanguageTask):
    """Where on a cycle of five one is after steps back (0), none (1) and forward (2)."""

    @property
    def kind(self) -> str:
        return "cycle-navigation"

    @property
    def classes(self) -> int:
        return MODULUS

    def symbols(self, length: int, count: int, rng: np.random.Generator) -> Integers:
        return rng.integers(0, 3, (count, length))

    def states(self, strings: Integers) -> Integers:
        return (strings - 1).cumsum(axis=1) % MODULUS


@dataclass(frozen=True)
class ModularArithmetic(LanguageTask):
    """The value modulo 5 of digits joined by +, − and ×, products first; no brackets."""

    @property
    def kind(self) -> str:
        return "modular-arithmetic"

    @property
    def classes(self) -> int:
        return MODULUS

    def possible(self, lengths: Integers) -> Integers:
        """Expressions have an odd length."""
        return lengths - 1 + lengths % 2

    def symbols(self, length: int, count: int, rng: np.random.Generator) -> Integers:
        strings = np.empty((count, length), dtype=np.int64)
        strings[:, ::2] = rng.integers(0, MODULUS, strings[:, ::2].shape)
        strings[:, 1::2] = rng.integers(PLUS, TIMES + 1, strings[:, 1::2].shape)
        return strings

    def states(self, strings: Integers) -> Integers:
        """After an operator, the value before it."""
        found = np.empty_like(strings)
        total, term = np.zeros_like(strings[:, 0]), strings[:, 0]
        for at in range(strings.shape[1]):
            if at and at % 2 == 0:
                sign, digit = strings[:, at - 1], strings[:, at]
                total = np.where(sign == TIMES, total, total + term) % MODULUS
                term = np.where(sign == TIMES, term * digit, np.where(sign == PLUS, digit, -digit))
                term = term % MODULUS
            found[:, at] = (total + term) % MODULUS
        return found


LANGUAGES = {
    each.kind: each for each in (EvenPairs(), ModularArithmetic(), ParityCheck(), CycleNavigation())
}
