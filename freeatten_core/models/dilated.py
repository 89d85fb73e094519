"""Sliding-dilated attention: a row sees keys that lie a stride apart (arXiv 2305.03796).

Positions of one residue class of the stride see each other alone, so that it is a window on every
class: permute, attend, permute back.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from freeatten_core.ops.call import Attend, ScoreTerms
from freeatten_core.variants.stages import Computed

__all__ = ["between_is_hidden", "dilated_attention"]

HIDDEN = -1e30
"""Added to a score, it leaves a weight of exactly 0."""


def dilated_attention(
    attend: Attend,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    computed: Computed,
    *,
    stride: int,
    **given: Any,
) -> Tensor:
    """The output (B, H, L, Dv) of rows that see their own key and those `stride`, 2 · `stride`, …
    before it.

    Args:
        given: for every class what `attend` is told of a text; its window counts keys that are
            seen, and its distances strides.
    """
    if stride == 1:
        return attend(query, key, value, computed, **given)
    batch, heads, length, _ = query.shape
    query, key, value = (_classes(each, stride) for each in (query, key, value))
    mixed = attend(query, key, value, computed, **given)
    apart = mixed.view(batch, stride, heads, -1, value.shape[-1]).permute(0, 2, 3, 1, 4)
    return apart.flatten(2, 3)[:, :, :length]


def _classes(vectors: Tensor, stride: int) -> Tensor:
    """(B · stride, H, ⌈L / stride⌉, D), a residue class each; later tokens fill the last up."""
    batch, heads, length, dim = vectors.shape
    filled = F.pad(vectors, (0, 0, 0, -length % stride))
    return filled.reshape(batch, heads, -1, stride, dim).permute(0, 3, 1, 2, 4).flatten(0, 1)


def between_is_hidden(terms: ScoreTerms, stride: int, keys: int, length: int) -> ScoreTerms:
    """The terms of the same layer for a call on the text as it is, in a window of `keys · stride`
    keys: those between the strides get a weight of 0.

    Args:
        terms: with a bias for every key that is seen, (H, keys).
    """
    assert terms.distance_bias is not None
    distance = torch.arange(min(length, keys * stride), device=terms.distance_bias.device)
    # float32: float16 has no number low enough
    bias = terms.distance_bias.float()[:, (distance // stride).clamp(max=keys - 1)]
    return terms._replace(distance_bias=bias.masked_fill(distance % stride != 0, HIDDEN))
