"""Weights as bytes, on a scale of logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Stages

__all__ = ["ByteScale", "byte_scale"]


@dataclass(frozen=True)
class ByteScale:
    """Weights as bytes on a logarithmic scale.

    Byte `b` stands for `2^(floor_log2 + b · step)`: 255 for `2^top_log2`, 0 for everything at or
    below `2^floor_log2`, exact zeros and hidden keys included.
    """

    top_log2: float = 0.0
    """0, so that byte 255 is a weight of 1, unless a row's weights can be larger (`relu` and the
    `count` variants): then the next whole power of two."""
    floor_log2: float = -24.0

    @property
    def step(self) -> float:
        """Octaves (factors of two) from one byte to the next: 0.094 from 2⁻²⁴ to 1."""
        return (self.top_log2 - self.floor_log2) / 255

    def encode(self, weights: Tensor) -> Tensor:
        """uint8, the shape of `weights`."""
        above = weights.clamp(min=2.0**self.floor_log2)  # log2 of 0 takes ten times as long
        scaled = above.log2_().sub_(self.floor_log2).div_(self.step)
        return scaled.round_().clamp_(0, 255).to(torch.uint8)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The weight that each byte stands for; 0 for byte 0."""
        table = np.exp2(self.floor_log2 + self.step * np.arange(256)).astype(np.float32)
        table[0] = 0
        return np.asarray(table[codes])

    def octaves(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """log2 of the weight, `floor_log2` for byte 0."""
        return np.asarray(self.floor_log2 + np.float32(self.step) * codes, dtype=np.float32)


def byte_scale(stages: Stages, rows: RowStatistics) -> ByteScale:
    """Byte 255 is weight 1, or the next power of two above the largest weight there is."""
    if stages.divides_by_sum or stages.whole_rows or stages.positivity == "sigmoid":
        return ByteScale()
    largest = float(rows.largest.max())
    if not (largest > 1 and math.isfinite(largest)):
        return ByteScale()
    return ByteScale(top_log2=float(math.ceil(math.log2(largest))))
