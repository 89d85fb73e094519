"""What kernels ask of a tensor's layout."""

from __future__ import annotations

from torch import Tensor

__all__ = ["readable", "tile_width"]

LARGEST_STRIDE = 2**31 // 512
"""Of tokens, in elements; tiles are shorter than 512 tokens."""


def readable(tensor: Tensor) -> Tensor:
    """The tensor in a layout that kernels can read: offsets inside a tile are 32-bit."""
    near = tensor.stride(-1) == 1 and tensor.stride(-2) < LARGEST_STRIDE
    return tensor if near else tensor.contiguous()


def tile_width(width: int) -> int:
    """Of a tile of vectors: matrix units take powers of two from 16."""
    return max(16, 1 << (width - 1).bit_length())
