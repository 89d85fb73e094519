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
        carry: float32 (Lq, ⌈Lk / block⌉), of stick-breaking alone, as in `recipe`.
        level_4, level_8, …: uint8 (⌈Lq / c⌉, ⌈Lk / c⌉), the pyramid; cell (a, b) pools the queries
            from a·c and the keys from b·c on. `metadata["cells"]` lists the sizes, finest first.
        rows_entropy, rows_largest, …: float32 (Lq,), every field of `RowStatistics`.
        tokens: int32 (Lq,), when known.
    metadata: JSON values: format, variant, positivity (exp, softplus, sigmoid, relu), power (p or
        null), softcap (bound of the scores, or null), block (keys between two carries, or null),
        query_length, key_length, dim, is_causal, pool (max, mean), cells, floor_log2, top_log2,
        tokenizer_id, layer, head.

    The scalars and the pyramid are those of the rounded query and key, so that near and far views
    agree with each other. A cell smaller than the finest level is recomputed and pooled: for the
    mean, the sum over the cell divided by its visible pairs (`first[i] <= j <= last[i]`).
    """

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]

    def weights(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        """The exact weights (q1 − q0, k1 − k0) by the recipe, as a page computes them."""
        if "carry" in self.arrays:
            return self._broken(q0, q1, k0, k1)
        p, per_row = self.metadata["power"], self._rows(q0, q1)
        s, forgotten = self._scores(q0, q1, k0, k1), self._forgotten(q0, q1, k0, k1)
        exponential = self.metadata["positivity"] == "exp"
        kept = torch.from_numpy(s + forgotten if exponential else s)
        f = staged.make_positive(self.metadata["positivity"], kept).numpy()
        f = f if exponential else f * np.exp(forgotten)
        w = per_row["gain"] * f
        if p is not None:
            w = per_row["out"] * np.maximum(0, w - per_row["rise"]) ** p
        return np.where(self._hidden(q0, q1, k0, k1), 0.0, w)

    def _rows(self, q0: int, q1: int) -> dict[str, NDArray[np.float64]]:
        """The numbers of the recipe, (q1 − q0, 1) each."""
        return {name: self.arrays[name][q0:q1, None].astype(float) for name in RECIPE}

    def _scores(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        a, per_row = self.arrays, self._rows(q0, q1)
        query, key = a["query"][q0:q1].astype(float), a["key"][k0:k1].astype(float)
        s = per_row["scale"] * (query @ key.T) * a["key_scale"][k0:k1]
        bound = self.metadata["softcap"]
        s = (s if bound is None else bound * np.tanh(s / bound)) + per_row["bias"]
        if "by_distance" in a:
            distance = a["last"][q0:q1, None] - np.arange(k0, k1)
            s = s + a["by_distance"][np.clip(distance, 0, len(a["by_distance"]) - 1)]
        return np.asarray(s)

    def _forgotten(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        """The logarithm of what a gate keeps of a pair; 0 without one."""
        sums = self.arrays.get("decay")
        if sums is None:
            return np.zeros((q1 - q0, k1 - k0))
        own = sums[np.maximum(self.arrays["last"][q0:q1, None], 0)].astype(float)
        return np.asarray(np.minimum(own - sums[k0:k1], 0))

    def _hidden(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.bool_]:
        a = self.arrays
        hidden = np.arange(k0, k1) > a["last"][q0:q1, None]
        if "first" in a:
            hidden |= np.arange(k0, k1) < a["first"][q0:q1, None]
        return np.asarray(hidden)

    def _broken(self, q0: int, q1: int, k0: int, k1: int) -> NDArray[np.float64]:
        """Of stick-breaking, block by block."""
        a, block = self.arrays, self.metadata["block"]
        keys, per_row = len(a["key"]), self._rows(q0, q1)
        start, end = k0 // block * block, min(keys, -(-k1 // block) * block)
        weights = np.empty((q1 - q0, end - start))
        for low in range(start, end, block):
            high = min(low + block, keys)
            own = np.arange(low, high) == a["last"][q0:q1, None]
            breaks = ~own & ~self._hidden(q0, q1, low, high)
            s = np.where(breaks, self._scores(q0, q1, low, high), -np.inf)
            passed = np.cumsum(np.logaddexp(s, 0)[:, ::-1], 1)[:, ::-1]
            carry = a["carry"][q0:q1, low // block, None].astype(float)
            broken = np.exp(s + carry - passed)
            weights[:, low - start : high - start] = np.where(own, per_row["out"], broken)
        return weights[:, k0 - start : k1 - start]


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.float() if tensor.dtype == torch.float64 else tensor
    return np.asarray(tensor.cpu().numpy())


def to_half(vectors: Tensor) -> tuple[Tensor, float]:
    """float16 vectors in [−1, 1], and the power of two to multiply them with."""
    largest = float(vectors.abs().max())
    power = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
    return (vectors / power).half(), power
