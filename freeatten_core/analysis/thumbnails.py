"""A small picture of every head of a capture: what an overview of layers and heads shows.

The pyramid of a map takes seconds a head at 32k tokens, because it computes every weight. Here
the last few rows of every row of cells stand for the rest, computed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.checks import check_whole
from freeatten_core.ops.operator import attention_weights

from .capture import Capture
from .map.scale import ByteScale

__all__ = ["Thumbnails", "thumbnails"]

MOST_SIDE = 512


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of all captured heads, on one scale."""

    codes: Mapping[int, NDArray[np.uint8]]
    """By layer, (H, side, side): the largest weight in each cell; hidden cells are 0."""
    scale: ByteScale
    side: int
    """Cells along each side; fewer than asked for where the text has fewer tokens."""
    rows: int
    """Rows of each row of cells that were computed, its last ones, at most."""


def thumbnails(capture: Capture, side: int = 64, rows: int = 16) -> Thumbnails:
    """The whole map of every head, small.

    Args:
        capture: of any length; the cost is that of `side · rows` rows a head.
        side: cells along each side, 1 to 512.
        rows: how many rows of each row of cells are looked at, at least 1.

    Raises:
        UsageError: a side or rows out of range.
    """
    side = min(check_whole("side", side, 1, MOST_SIDE), capture.length)
    rows = check_whole("rows", rows, 1, None)
    edges = torch.arange(side + 1) * capture.length // side
    pooled = _pooled(capture, edges, rows)
    largest = float(pooled.max())
    top = math.ceil(math.log2(largest)) if 1 < largest < math.inf else 0
    scale = ByteScale(top_log2=float(top))
    codes = dict(zip(capture.layers, scale.encode(pooled).cpu().numpy(), strict=True))
    return Thumbnails(codes, scale, side, min(rows, -(-capture.length // side)))


def _pooled(capture: Capture, edges: Tensor, rows: int) -> Tensor:
    """The largest weight of every cell among its last rows, (layers, H, side, side)."""
    layers = list(capture.layers.values())
    side, device = len(edges) - 1, layers[0].key.device
    cells = torch.zeros(len(layers), capture.heads, side, side, device=device)
    cell_of_key = torch.bucketize(torch.arange(capture.length), edges[1:], right=True)
    cell_of_key = cell_of_key.to(device).expand(capture.heads, -1)
    for pooled, layer in zip(cells, layers, strict=True):
        query, key = layer.query[None].float(), layer.key[None].float()
        for row, (low, high) in enumerate(pairwise(edges.tolist())):
            weights = attention_weights(
                query,
                key,
                capture.weighed_by,
                **layer.options,
                rows=slice(max(low, high - rows), high),
                cols=slice(0, high),
            )[0]
            pooled[:, row].scatter_reduce_(1, cell_of_key[:, :high], weights.amax(1), "amax")
    return cells
