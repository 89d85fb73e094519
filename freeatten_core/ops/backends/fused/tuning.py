"""How large tiles are. Times are medians of one H200: bfloat16, causal, B = 2, H = 16, 8192 tokens.

`width` is that of the wider of keys and values, rounded up to a power of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from freeatten_core.variants.stages import Stages

__all__ = [
    "Tiles",
    "fast_forward_tiles",
    "forward_tiles",
    "heads_together",
    "key_tiles",
    "query_tiles",
    "split_tiles",
]


@dataclass(frozen=True)
class Tiles:
    """Rows and keys of a tile, and how a program runs."""

    rows: int
    keys: int
    warps: int = 4
    stages: int = 2
    """How many tiles are loaded ahead, this one included."""
    registers: int | None = None
    """A limit for each thread, so that more programs share a multiprocessor."""


def forward_tiles(width: int, dtype: torch.dtype) -> Tiles:
    """LSSAR p = 15, D = 64: 1.69 ms; with 128 registers 2.00, with 2 stages and 128 registers 1.83,
    with 128 keys 1.94, without a limit on registers 1.94 to 2.2, with 128 rows and 8 warps 2.2.
    LSSA 0.83 (128 registers: 1.01), softmax 0.68 (128 rows, 8 warps: the same).

    D = 128: 2.73, 1.30 and 1.12 ms; with 128 rows and 8 warps 2.94, 1.67 and 1.15, with 32 keys
    2.91, 1.38 and 1.44. float32, 3 heads: every tile from 32×32 to 64×64 within 10 %.
    """
    if dtype == torch.float32:
        return Tiles(16, 32) if width > 128 else Tiles(32, 32)
    if width <= 64:
        return Tiles(64, 64, 4, 3, 168)
    if width <= 128:
        return Tiles(64, 64, 4, 3)
    return Tiles(64, 32, warps=8)


def fast_forward_tiles(width: int) -> Tiles:
    """Of `fast_forward`, one H100: LSSAR p = 15, D = 64: 1.14 ms before uneven blocks had the keys
    themselves; with 128 registers 1.32, without a limit 1.22, with 2 stages 1.22, with 4 the same,
    with 128 keys 1.38, with 128 rows and 8 warps 1.43. D = 128: 2.03 ms, with 2 stages 2.41.
    """
    return Tiles(64, 64, 4, 3, 168) if width <= 64 else Tiles(64, 64, 4, 3)


def query_tiles(variant: Stages, width: int, dtype: torch.dtype) -> Tiles:
    """LSSAR p = 15, D = 64: 1.98 ms; with 2 stages 2.08, with 32 keys 2.18, with 128 rows 2.42.
    D = 128: 3.44 ms; with 128×64 and 8 warps 3.57 to 3.72, with 64 keys 4.13.

    With the sweep of `fast_backward`, D = 64: 1.54 ms; with 2 stages 1.69, with 32 keys 1.60, with
    168 registers 1.87, with 128 rows and 8 warps 1.72 to 1.97. D = 128 (H100): 2.72 ms, as with
    4 or 5 stages; with 2 3.12, with 64 keys 3.37 to 4.43, with 128 rows and 8 warps 2.79 to 3.67.

    Softmax: 0.75 and 1.49 ms; with 64 keys 0.77 (D = 64), with 32 keys 1.68 (D = 128).
    """
    sharpened = variant.sharpen is not None
    if dtype == torch.float32:
        return Tiles(16, 16) if width > 64 else Tiles(32, 32)
    if width <= 64:
        return Tiles(64, 64, 4, 3) if sharpened else Tiles(64, 32, 4, 3)
    if width <= 128:
        return Tiles(64, 32, 4, 3) if sharpened else Tiles(64, 64, 4, 2)
    return Tiles(32, 32, warps=8)


def key_tiles(variant: Stages, width: int, dtype: torch.dtype) -> Tiles:
    """LSSAR p = 15, D = 64: 2.73 ms; with 3 stages 2.69 to 3.01, with 64 rows 3.11.
    D = 128: 4.30 to 4.42 ms; with 2 stages 4.92 to 5.12, with 64 rows 4.97, with 128 keys 4.63.

    With the sweep of `fast_backward`, D = 64: 2.16 ms; with 3 stages and no limit on registers
    2.21, with 64 rows 2.18, with 128 keys and 8 warps 2.39 to 2.69. D = 128 (H100): 3.30 ms; with 3
    stages 3.46, with 5 5.22, with 232 registers 4.33, with 64 rows 6.7; without that sweep 3 and 4
    stages are the same.

    Softmax: 1.64 and 2.97 ms; with 64 rows 1.68 (D = 64), with 128 keys 3.15 (D = 128).
    """
    if dtype == torch.float32:
        return Tiles(16, 16) if width > 64 else Tiles(32, 32)
    if width <= 64:
        return Tiles(32, 64, 4, 3 if variant.sharpen is None else 4, 168)
    if width <= 128:
        return Tiles(32, 64, 4, 3 if variant.sharpen is None else 4)
    return Tiles(32, 32, warps=8)


def split_tiles(rows: int, width: int, dtype: torch.dtype) -> Tiles:
    """Of few rows, whose keys are shared out; one row has no matrix products.

    One query, 16 heads, 32,768 keys (H200), LSSAR p = 15, D = 64: 0.053 ms, with 8 warps the same.
    D = 128: 0.084, with 4 warps 0.266; with 2 stages or 128 keys 0.100. In float16 the values of 8
    warps were not compared with float64 on a GPU.
    """
    keys = 64 if width * dtype.itemsize <= 256 else 32
    if rows == 1:
        return Tiles(1, keys, 8 if width > 64 and dtype == torch.bfloat16 else 4, 3)
    return Tiles(max(16, 1 << (rows - 1).bit_length()), keys, 4, 3)


def heads_together(width: int) -> int:
    """How many heads the exact kernels have at work at a time: what those read stays in the
    second-level cache.

    Of 256 heads on 1,024 tokens softmax takes 0.229 instead of 0.323 ms with heads of 128, its
    backward 0.829 instead of 0.926, and 0.137 instead of 0.152 and 0.424 instead of 0.439 with
    heads of 64; half or twice as many heads at a time cost up to 2 %.
    """
    return 2048 // width
