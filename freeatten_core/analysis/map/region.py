"""A part of a map in square cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from .scale import ByteScale

__all__ = ["Pool", "Region"]

Pool = Literal["max", "mean"]


@dataclass(frozen=True)
class Region:
    """A part of the map in square cells, drawn row by row from the top left."""

    query_start: int
    """Position of the first cell's first query: the start asked for, rounded down to a cell."""
    key_start: int
    cell: int
    """Tokens along each side of a cell: 1, 2, 4, …"""
    codes: NDArray[np.uint8]
    """(rows, columns), at most `cells + 1` each: views need not be aligned with the cells."""
    weights: NDArray[np.float32] | None
    """The same cells exactly, recomputed from query and key; None when read from the pyramid."""
    pool: Pool
    scale: ByteScale
    query_length: int
    key_length: int
    window: int | None = None
    """A row sees at most this many keys."""

    @property
    def exact(self) -> bool:
        return self.weights is not None

    def query_edges(self) -> NDArray[np.int64]:
        """Where cells begin and end, (rows + 1,) positions; the last cell can be cut short."""
        return _edges(self.query_start, self.cell, self.codes.shape[0], self.query_length)

    def key_edges(self) -> NDArray[np.int64]:
        """As `query_edges`, (columns + 1,)."""
        return _edges(self.key_start, self.cell, self.codes.shape[1], self.key_length)

    def values(self) -> NDArray[np.float32]:
        """Weights of the cells, exact where they are, else what the bytes stand for."""
        return self.scale.decode(self.codes) if self.weights is None else self.weights

    def hidden(self) -> NDArray[np.bool_]:
        """Cells of which no query sees any key, (rows, columns): ahead, or before the window."""
        own = self.query_edges() + self.key_length - self.query_length
        keys = self.key_edges()
        hidden = keys[:-1] >= own[1:, None]
        if self.window is not None:
            hidden |= keys[1:] <= own[:-1, None] + 1 - self.window
        return hidden

    def visible_cells(self) -> Iterator[tuple[int, int, float]]:
        """(first query, first key, weight) of the cells that are not hidden, row by row."""
        queries, keys, values = self.query_edges(), self.key_edges(), self.values()
        for row, column in np.argwhere(~self.hidden()).tolist():
            yield int(queries[row]), int(keys[column]), float(values[row, column])

    def write_csv(self, file: TextIO) -> None:
        """A line for every visible cell with its first query and key, its side and its weight."""
        writer = csv.writer(file)
        writer.writerow(["query", "key", "cell", "weight"])
        for query, key, weight in self.visible_cells():
            writer.writerow([query, key, self.cell, f"{weight:.6g}"])


def _edges(start: int, cell: int, count: int, length: int) -> NDArray[np.int64]:
    return np.minimum(start + cell * np.arange(count + 1, dtype=np.int64), length)
