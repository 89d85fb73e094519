"""Two maps of one text, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.basics.errors import UsageError

from .attention_map import AttentionMap
from .region import Region

__all__ = ["DifferenceRegion", "difference"]


@dataclass(frozen=True)
class DifferenceRegion:
    """How two maps of the same text differ, cell by cell; axes as in `Region`."""

    query_start: int
    key_start: int
    cell: int
    octaves: NDArray[np.float32]
    """log2 of first / second, (rows, columns), each of them at least 2⁻²⁴: 0 where both are below
    that; from the pyramid within one step of either scale."""
    weights: NDArray[np.float32] | None
    """first − second, when both are exact."""
    first: Region
    second: Region


def difference(
    first: AttentionMap,
    second: AttentionMap,
    q0: int,
    q1: int,
    k0: int,
    k1: int,
    cells: int = 512,
) -> DifferenceRegion:
    """How two maps of the same tokens differ in a region; arguments as `AttentionMap.region`.

    Raises:
        UsageError: another tokenizer, other tokens or another size, another pooling; a region
            that is not one.
    """
    _check_same_text(first, second)
    a, b = (item.region(q0, q1, k0, k1, cells) for item in (first, second))
    floor = max(a.scale.floor_log2, b.scale.floor_log2)
    if a.weights is not None and b.weights is not None:
        logs = [np.log2(np.maximum(part, np.exp2(floor))) for part in (a.weights, b.weights)]
        weights = a.weights - b.weights
    else:
        logs = [part.scale.octaves(part.codes) for part in (a, b)]
        weights = None
    octaves = np.asarray(logs[0] - logs[1], dtype=np.float32)
    return DifferenceRegion(a.query_start, a.key_start, a.cell, octaves, weights, a, b)


def _check_same_text(first: AttentionMap, second: AttentionMap) -> None:
    sizes = [(item.query_length, item.key_length) for item in (first, second)]
    if first.tokenizer_id != second.tokenizer_id:
        raise UsageError(
            "the two maps cannot be compared cell by cell: their tokenizers differ "
            f"({first.tokenizer_id} and {second.tokenizer_id}), so the same position is not the "
            "same text; capture both with checkpoints that share a tokenizer"
        )
    if sizes[0] != sizes[1]:
        raise UsageError(
            "the two maps cannot be compared cell by cell: they are of "
            f"{sizes[0][0]}×{sizes[0][1]} and {sizes[1][0]}×{sizes[1][1]} tokens"
        )
    known = [item.tokens is not None for item in (first, second)]
    if known[0] != known[1] or (
        first.tokens is not None
        and second.tokens is not None
        and not torch.equal(first.tokens.cpu(), second.tokens.cpu())
    ):
        raise UsageError(
            "the two maps cannot be compared cell by cell: they are not known to be of the same "
            "tokens; capture both on the same text"
        )
    if first.pool != second.pool:
        raise UsageError(
            f"the two maps cannot be compared: one shows the {first.pool} of a cell, the other "
            f"the {second.pool}; build both with the same pool"
        )
