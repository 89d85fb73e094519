"""How far back the rows of a layer read, and whether one key is read by all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from freeatten_core.basics.checks import check_range
from freeatten_core.ops.operator import attention_weights

from .capture import Capture

__all__ = ["Reach", "doubling_edges", "reach"]

PANEL_WEIGHTS = 1 << 22
"""Weights in memory at a time, over all heads."""


@dataclass(frozen=True)
class Reach:
    """Means over the rows of a range, each divided by its sum; a row that reads nothing is 0."""

    by_distance: Tensor
    """Share of the weight so many tokens back, (H, stop) float64; 0 is the row's own token."""
    received: Tensor
    """The largest share that any one key before the range receives, (H,) float64; 0 if none."""

    def beyond(self, tokens: int) -> Tensor:
        """Share of the weight `tokens` or more back, (H,)."""
        return self.by_distance[:, tokens:].sum(-1)

    def doublings(self) -> Tensor:
        """Share by distance 0, 1, 2–3, 4–7, …, (H, bins); `doubling_edges` gives the ends."""
        edges = doubling_edges(self.by_distance.shape[-1])
        starts = [0, *(edge + 1 for edge in edges[:-1])]
        parts = [
            self.by_distance[:, low : high + 1].sum(-1)
            for low, high in zip(starts, edges, strict=True)
        ]
        return torch.stack(parts, dim=-1)


def doubling_edges(length: int) -> list[int]:
    """The largest distance of each bin: 0, 1, 3, 7, … to the first that holds `length − 1`."""
    edges = [0]
    while edges[-1] < length - 1:
        edges.append(2 * edges[-1] + 1)
    return edges


@torch.no_grad()
def reach(capture: Capture, layer: int, start: int = 0, stop: int | None = None) -> Reach:
    """Where the rows start…stop of a layer read, from their exact weights, in panels.

    Raises:
        UsageError: a layer that was not captured; a range that is empty, reversed or outside.
    """
    found, length = capture.layer(layer), capture.length
    start, stop = check_range("row", start, length if stop is None else stop, length)
    query, key = found.query[None], found.key[None]
    heads = query.shape[1]
    by_distance = torch.zeros(heads, stop, dtype=torch.float64, device=query.device)
    received = torch.zeros(heads, start, dtype=torch.float64, device=query.device)
    step = max(16, PANEL_WEIGHTS // (heads * stop))
    for low in range(start, stop, step):
        high = min(stop, low + step)
        weights = attention_weights(
            query,
            key,
            capture.weighed_by,
            **found.options,
            rows=slice(low, high),
            cols=slice(0, high),
        )[0]
        mass = weights.sum(-1, keepdim=True)
        shares = weights / mass.masked_fill(mass == 0, 1)
        by_distance[:, :high] += _sum_by_distance(shares)
        received += shares[..., :start].sum(1, dtype=torch.float64)
    rows = stop - start
    strongest = received.amax(-1) if start else received.new_zeros(heads)
    return Reach((by_distance / rows).cpu(), (strongest / rows).cpu())


def _sum_by_distance(shares: Tensor) -> Tensor:
    """(H, keys) of (H, rows, keys), whose rows are those of the last `rows` keys.

    Keys reversed and every row one step shorter than the storage's: rows slide so that columns
    are distances.
    """
    heads, rows, keys = shares.shape
    padded = F.pad(shares.flip(-1), (0, rows))
    wide = keys + rows
    slid = padded.as_strided((heads, rows, keys), (rows * wide, wide - 1, 1), rows - 1)
    return slid.sum(1, dtype=torch.float64)
