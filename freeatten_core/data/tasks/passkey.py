"""Passkey: a few digits once, anywhere in filler that repeats, and asked for at the end.

After Mohtashami and Jaggi (arXiv 2305.16300), whose filler is one sentence over and over, as a
task that a small model is trained on: a mark, the digits, more filler, and the question, behind
which the digits are read one by one. Each digit is scored where those before it are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .task import Sequences, Task

__all__ = ["PasskeyTask"]

DIGITS = 10


@dataclass(frozen=True)
class PasskeyTask(Task):
    """Tokens are numbered: filler, the mark, the question, digits."""

    fillers: int = 32
    """Tokens of the sentence that repeats."""
    digits: int = 5
    """Of the passkey."""

    @property
    def kind(self) -> str:
        return "passkey"

    @property
    def first_answer(self) -> int:
        return self.fillers + 2

    @property
    def vocab_size(self) -> int:
        return self.first_answer + DIGITS

    @property
    def shortest(self) -> int:
        """The mark, the digits, the question, and the digits but the last."""
        return 2 * self.digits + 1

    @property
    def needs(self) -> str:
        return f"a passkey of {self.digits} digits"

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        mark, asks = self.fillers, self.fillers + 1
        begins = rng.integers(0, self.fillers, (count, 1))
        tokens = (begins + np.arange(length)) % self.fillers
        digits = self.first_answer + rng.integers(0, DIGITS, (count, self.digits))
        places = rng.integers(0, length - self.shortest + 1, (count, 1))
        shown = places + 1 + np.arange(self.digits)
        np.put_along_axis(tokens, places, mark, axis=1)
        np.put_along_axis(tokens, shown, digits, axis=1)
        asked = np.tile(np.arange(length - self.digits, length), (count, 1))
        tokens[:, asked[0]] = np.concatenate([np.full((count, 1), asks), digits[:, :-1]], axis=1)
        return Sequences(tokens, asked, digits, asked - shown)
