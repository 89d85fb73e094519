"""Work that is done in parts: the parts, in their order, are the whole."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UsageError

__all__ = ["WHOLE", "Shard", "shards"]


@dataclass(frozen=True)
class Shard:
    """One of several parts, of equal size where their number divides the whole.

    Raises:
        UsageError: an index that is none of 0 … of − 1.
    """

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise UsageError(f"shard is {self.index} of {self.of}; it must be from 0 to of − 1")

    def part(self, count: int) -> slice:
        """Its places among `count`; it can be empty where there are more shards than places."""
        return slice(count * self.index // self.of, count * (self.index + 1) // self.of)


WHOLE = Shard()


def shards(of: int) -> list[Shard]:
    """All of them, in order."""
    return [Shard(index, of) for index in range(of)]
