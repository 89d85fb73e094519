"""The far view: a pyramid of bytes, each level pooled from the one below."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .scale import ByteScale
from .tiles import Tiles

__all__ = ["Pyramid", "base_cell"]

BASE_CELL = 4
"""Tokens along a cell of the finest level kept: 1/16 byte a weight, and as much as a third again
for the coarser levels (89 MB at 32k tokens)."""
BASE_SIDE = 8192
"""Cells along the finest level at most; a longer map starts with larger cells."""
ROWS, KEYS = 128, 4096
"""Rows and keys of the panel that is pooled at once: 2 MB."""


def base_cell(query_length: int, key_length: int) -> int:
    """Tokens along a cell of the finest level of a map."""
    base = BASE_CELL
    while max(query_length, key_length) > BASE_SIDE * base:
        base *= 2
    return base


class Pyramid:
    """All levels of a map, made in one sweep over its tiles.

    Attributes:
        levels: uint8 (⌈Lq / c⌉, ⌈Lk / c⌉) by cell size c, finest first.
    """

    def __init__(self, tiles: Tiles, scale: ByteScale, advance: Callable[[int], None]) -> None:
        """`advance` is called with how many more scores are done."""
        self.tiles, self.scale = tiles, scale
        self.levels: dict[int, NDArray[np.uint8]] = {}
        self._build_levels(advance)

    def _build_levels(self, advance: Callable[[int], None]) -> None:
        """All levels in one sweep over strips of rows.

        A strip holds ROWS rows pooled to the base cell; it is pooled on while it has two rows, and
        its last row waits for the other strips.
        """
        tiles, base = self.tiles, self.tiles.base
        strip_rows = max(ROWS, base)
        sides = (tiles.rows // base, tiles.keys // base)
        levels: dict[int, Tensor] = {}
        cell = base
        while True:
            levels[cell] = tiles.zeros(*sides, dtype=torch.uint8)
            if max(sides) == 1:
                break
            cell, sides = cell * 2, (-(-sides[0] // 2), -(-sides[1] // 2))
        strips = -(-tiles.rows // strip_rows)
        width = -(-tiles.keys // strip_rows)
        waiting = [tiles.zeros(strips, width) for _ in range(self._strip_parts)]
        for index in range(strips):
            q0 = index * strip_rows
            q1 = min(tiles.rows, q0 + strip_rows)
            parts = self._strip(q0, q1, advance)
            self._pool_on(parts, levels, base, strip_rows, q0)
            for whole, part in zip(waiting, parts, strict=True):
                whole[index, : part.shape[1]] = part[0]
        coarse = strip_rows * 2
        if coarse in levels:
            parts = [self._pooled(part, index) for index, part in enumerate(waiting)]
            self._pool_on(parts, levels, coarse, max(levels) * 2, 0)
        self.levels = {cell: level.cpu().numpy() for cell, level in levels.items()}

    @property
    def _strip_parts(self) -> int:
        """A strip is its maxima, or its sums and the pairs that are visible."""
        return 1 if self.tiles.pool == "max" else 2

    def _strip(self, q0: int, q1: int, advance: Callable[[int], None]) -> list[Tensor]:
        """Rows q0…q1 pooled to base cells, up to the last keys they see: (rows, columns) each."""
        tiles, base = self.tiles, self.tiles.base
        until = tiles.visible_until(min(q1, tiles.problem.query_length) - 1)
        width = -(-max(1, until) // base)
        strip = tiles.zeros((q1 - q0) // base, width)
        start = min(width * base, tiles.visible_from(q0) // base * base)
        for k0 in range(start, width * base, KEYS):
            k1 = min(width * base, k0 + KEYS)
            strip[:, k0 // base : k1 // base] = tiles.tile(q0, q1, k0, k1, base)
            advance((q1 - q0) * (k1 - k0))
        if self.tiles.pool == "max":
            return [strip]
        return [strip, tiles.visible_pairs(q0, q1, 0, width * base, base)]

    def _pool_on(
        self, parts: list[Tensor], levels: dict[int, Tensor], cell: int, last: int, q0: int
    ) -> None:
        """Write `parts` (cells of `cell` tokens, from query `q0`) to the levels up to `last`.

        Leaves the parts pooled to cells of `last` tokens, in the same list.
        """
        while cell in levels:
            weights = parts[0] if self.tiles.pool == "max" else parts[0] / parts[1].clamp(min=1)
            rows, cols = weights.shape
            top = q0 // cell
            levels[cell][top : top + rows, :cols] = self.scale.encode(weights)
            if cell == last:
                return
            cell *= 2
            parts[:] = [self._pooled(part, index) for index, part in enumerate(parts)]

    def _pooled(self, cells: Tensor, index: int) -> Tensor:
        """Two by two cells in one; part 0 by the map's pooling, the pairs by their sum."""
        rows, cols = cells.shape
        cells = torch.nn.functional.pad(cells, (0, cols % 2, 0, rows % 2))
        if self.tiles.pool == "max" and index == 0:
            tall = torch.maximum(cells[0::2], cells[1::2])
            return torch.maximum(tall[:, 0::2], tall[:, 1::2])
        tall = cells[0::2] + cells[1::2]
        return tall[:, 0::2] + tall[:, 1::2]
