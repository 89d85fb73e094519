"""A map as arrays: what a page needs to recompute it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.ops.definitions import staged

from .recipe import RECIPE

__all__ = ["Payload", "as_numpy", "to_half"]


@dataclass(frozen=True)
class Payload:
    """A map as plain arrays, for a page that carries everything with it.

    arrays (type, shape):
        query, key: float16 (Lq, D), (Lk, D), divided by a power of two to lie in [−1, 1]; `scale`
            has that power.
        scale, bias, gain, rise, out: float32 (Lq,); key_scale: float32 (Lk,); last: int32 (Lq,):
            the recipe, see `recipe`. −1 in `last`: a row that sees nothing.
        by_distance: float32 (n,), where scores depend on the distance alone; decay: float32 (Lk,),
            where a gate forgets; first: int32 (Lq,), under a window alone: the first key that a
            row sees.
        level_4, level_8, …: uint8 (⌈Lq / c⌉, ⌈Lk / c⌉), the pyramid; cell (a, b) pools the queries
            from a·c and the keys from b·c on. `metadata["cells"]` lists the sizes, finest first.
        rows_entropy, rows_largest, …: float32 (Lq,), every field of `RowStatistics`.
        tokens: int32 (Lq,), when known.
    metadata: JSON values: format, variant, positivity (exp, softplus, sigmoid, relu), power (p or
        null), query_length, key_length, dim, is_causal, pool (max, mean), cells, floor_log2,
        top_log2, tokenizer_id, layer, head.

    The scalars and the pyramid are those of the rounded query and key, so that near and far views
    agree with each other. A cell smaller than the finest level is recomputed and pooled: for the
    mean, the sum over the cell divided by its visible pairs (`first[i] <= j <= last[i]`).
    """

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]

    def weights(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        """The exact weights (q1 − q0, k1 − k0) by the recipe, as a page computes them."""
        a, p = self.arrays, self.metadata["power"]
        rows, keys = slice(q0, q1), slice(k0, k1)
        query, key = a["query"][rows].astype(float), a["key"][keys].astype(float)
        per_row = {name: a[name][rows, None].astype(float) for name in RECIPE}
        s = per_row["scale"] * (query @ key.T) * a["key_scale"][keys] + per_row["bias"]
        if "by_distance" in a:
            distance = a["last"][rows, None] - np.arange(k0, k1)
            s = s + a["by_distance"][np.clip(distance, 0, len(a["by_distance"]) - 1)]
        exponential, kept = self.metadata["positivity"] == "exp", np.zeros(())
        if "decay" in a:
            own = a["decay"][np.maximum(a["last"][rows, None], 0)]
            kept = np.minimum(own.astype(float) - a["decay"][keys], 0)
        s = s + kept if exponential else s
        f = staged.make_positive(self.metadata["positivity"], torch.from_numpy(s)).numpy()
        f = f if exponential else f * np.exp(kept)
        w = per_row["gain"] * f
        if p is not None:
            w = per_row["out"] * np.maximum(0, w - per_row["rise"]) ** p
        hidden = np.arange(k0, k1) > a["last"][rows, None]
        if "first" in a:
            hidden |= np.arange(k0, k1) < a["first"][rows, None]
        return np.where(hidden, 0.0, w)


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.float() if tensor.dtype == torch.float64 else tensor
    return np.asarray(tensor.cpu().numpy())


def to_half(vectors: Tensor) -> tuple[Tensor, float]:
    """float16 vectors in [−1, 1], and the power of two to multiply them with."""
    largest = float(vectors.abs().max())
    power = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
    return (vectors / power).half(), power
