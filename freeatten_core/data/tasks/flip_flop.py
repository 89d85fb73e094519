"""Flip-flop: a bit that is written now and then, and read after many that do not count.

Flip-flop language modelling (Liu et al., arXiv 2306.00946): an instruction and a bit by turns;
`write` sets the memory, `read` is followed by what it holds, `ignore` by a random bit. Scored is
the bit behind a `read`. There instructions are drawn with fixed chances; here their numbers are
fixed, so that a longer sequence has more to ignore and asks the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .recall import places
from .task import Sequences, Task

__all__ = ["FlipFlopTask"]

WRITE, READ, IGNORE = range(3)
FIRST_BIT = 3


@dataclass(frozen=True)
class FlipFlopTask(Task):
    """Tokens are numbered: write, read, ignore, the bits."""

    writes: int = 8
    """In one sequence, the first instruction among them."""
    reads: int = 8

    @property
    def kind(self) -> str:
        return "flip-flop"

    @property
    def first_answer(self) -> int:
        return FIRST_BIT

    @property
    def vocab_size(self) -> int:
        return FIRST_BIT + 2

    @property
    def shortest(self) -> int:
        """Two tokens for every write and read."""
        return 2 * (self.writes + self.reads)

    @property
    def needs(self) -> str:
        return f"flip-flop of {self.writes} writes and {self.reads} reads"

    def _drawn(self, length: int, count: int, rng: np.random.Generator) -> Sequences:
        turns, acts = length // 2, self.writes + self.reads - 1
        orders = np.full((count, turns), IGNORE, dtype=np.int64)
        bits = rng.integers(0, 2, (count, turns))
        acting = 1 + places(rng, count, turns - 1, acts, in_order=False)
        np.put_along_axis(orders, acting[:, : self.reads], READ, axis=1)
        np.put_along_axis(orders, acting[:, self.reads :], WRITE, axis=1)
        orders[:, 0] = WRITE
        # the turn of the last write up to each turn
        wrote = np.maximum.accumulate(np.where(orders == WRITE, np.arange(turns), 0), axis=1)
        held = np.take_along_axis(bits, wrote, axis=1)
        bits = np.where(orders == READ, held, bits)
        tokens = np.full((count, length), IGNORE, dtype=np.int64)
        tokens[:, 0 : 2 * turns : 2], tokens[:, 1 : 2 * turns : 2] = orders, FIRST_BIT + bits
        reads = np.sort(acting[:, : self.reads], axis=1)
        asked = 2 * reads
        return Sequences(
            tokens,
            asked,
            FIRST_BIT + np.take_along_axis(held, reads, axis=1),
            asked - (2 * np.take_along_axis(wrote, reads, axis=1) + 1),
        )
