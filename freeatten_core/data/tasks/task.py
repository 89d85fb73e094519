"""What a synthetic task is: its sizes as plain values, and the sequences they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freeatten_core.basics.errors import UsageError

__all__ = ["TEST", "TRAINING", "UNSCORED", "VALIDATION", "Integers", "Sequences", "Task"]

TRAINING, VALIDATION, TEST = range(3)
"""Part of the key that sequences are drawn with, so that no part repeats another."""

UNSCORED = -100
"""A target that does not count, as `cross_entropy` has it."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Sequences of one width, and what is asked in them."""

    tokens: Integers
    """(count, length)."""
    queries: Integers
    """Positions of the queries, (count, queries)."""
    answers: Integers
    """The tokens that answer them, (count, queries)."""
    distances: Integers
    """How far back what each asks for is, (count, queries)."""

    def __getitem__(self, part: slice) -> Sequences:
        """Some of them."""
        return Sequences(*(getattr(self, each.name)[part] for each in fields(self)))

    def targets(self) -> Integers:
        """(count, length): the answer where there is a query, else `UNSCORED`."""
        targets = np.full_like(self.tokens, UNSCORED)
        np.put_along_axis(targets, self.queries, self.answers, axis=1)
        return targets


@dataclass(frozen=True)
class Task(ABC):
    """The sizes of a task, its fields. Tokens are numbered, those that answer last."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its name."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Tokens in all."""

    @property
    @abstractmethod
    def first_answer(self) -> int:
        """The first of the tokens that answer; it and all after it do."""

    @property
    @abstractmethod
    def shortest(self) -> int:
        """The least length."""

    @property
    def chance(self) -> float:
        """How often a guess is right."""
        return 1 / (self.vocab_size - self.first_answer)

    @property
    def needs(self) -> str:
        """What a sequence has to hold, for a refusal."""
        return self.kind

    def refusal(self) -> str | None:
        """Why sizes do not go together, as the end of a sentence; None if they do."""
        return None

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def draw(self, length: int, count: int, key: tuple[int, ...]) -> Sequences:
        """Sequences of a length, which depend on the arguments alone.

        Args:
            key: numbers, of which other ones give other sequences.

        Raises:
            UsageError: a length that cannot hold what is asked.
        """
        if length < self.shortest:
            raise UsageError(
                f"{self.needs} needs at least {self.shortest} tokens; the length is {length}"
            )
        return self._drawn(length, count, np.random.default_rng(key))

    def training(self, length: int, count: int, key: tuple[int, ...]) -> tuple[Integers, Integers]:
        """Tokens and targets of a batch that is `length` tokens wide, (count, length) each.

        All of its sequences have that length, unless a task is trained on several.
        """
        drawn = self.draw(length, count, key)
        return drawn.tokens, drawn.targets()

    @abstractmethod
    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        """As `draw`, of a length that will do."""
