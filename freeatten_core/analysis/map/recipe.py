"""What turns a score into a weight, as a few numbers a row: the same operations for every variant.

    s = scale[i] · key_scale[j] · (query[i] · key[j]) + bias[i] + by_distance[last[i] − j]
    f = e^s  |  log(1 + e^s)  |  1 / (1 + e^−s)  |  max(s, 0)         by the positivity
    w = gain[i] · f                                                   without sharpening
    w = out[i] · max(0, gain[i] · f − rise[i])^p                      with sharpening by p
    w = 0  where  j > last[i]  or  j < first[i]

`Payload` carries exactly these arrays, so a page needs no other formula; `Payload.weights` is the
reference for it. The recipe in terms of the variant's stages (N visible keys, S normaliser):

    scale      1/√D, or log D · log N / max(‖q‖, 1e-6) for `length-cosine` (and its ablations);
               times the head's scale, if it has one
    key_scale  1, or 1 / max(‖k‖, 1e-6) for cosines
    bias       −log Σ e^s for `exp` with `l1`, −log N for `dot-log-n`, their sum for both, else 0
    gain       1/S for `l1` (1 for `exp`, whose S is in the bias), 1/N for `count`, 1 for `none`;
               with sharpening times N / u_max
    rise, out  O / u_max and 1 / R
    by_distance  what slope and bias add at distance 0, 1, …; its last entry beyond; absent where
               there is neither
    first      the first key that a row sees; absent without a window

Stick-breaking alone needs more than a key and a row: it goes on from what the nearer keys left.

    carry[i, b]  −Σ log(1 + e^s) over the visible keys from key (b + 1) · BLOCK on
    w = e^(s[j] + carry[i, b] − Σ log(1 + e^s[k]))      over k from j to the end of its block b
    w = out[i]                                         of the row's own key, which has no s

Max pooling commutes with all but this, since a row's weight never falls as its score rises: scores
are pooled first, and the elementwise work shrinks by the size of the cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freeatten_core.ops.call import NORM_EPS, Problem, ScoreTerms
from freeatten_core.ops.row_statistics import RowStatistics

__all__ = ["BLOCK", "RECIPE", "Recipe"]

BLOCK = 256
"""Keys between two carries: as many bytes as the pyramid of a map has."""

RECIPE = ("scale", "bias", "gain", "rise", "out")
"""A number a row each."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of the recipe above, (Lq,) each; `key_scale` (Lk,), `last` int64."""

    scale: Tensor
    bias: Tensor
    gain: Tensor
    rise: Tensor
    out: Tensor
    key_scale: Tensor
    last: Tensor
    first: Tensor | None = None
    """(Lq,), under a window alone."""
    by_distance: Tensor | None = None
    """(n,), where scores depend on the distance alone."""
    carry: Tensor | None = None
    """(Lq, ⌈Lk / BLOCK⌉), of stick-breaking alone."""

    @classmethod
    def of(
        cls,
        problem: Problem,
        query: Tensor,
        key: Tensor,
        rows: RowStatistics,
        terms: ScoreTerms,
    ) -> Recipe:
        """query (Lq, D), key (Lk, D), rows (Lq,) each, terms of one head."""
        variant, length = problem.variant, problem.query_length
        count = problem.visible_count(0, length, query)
        scale, key_scale = problem.score_scale(count), key.new_ones(len(key))
        if variant.cosine:
            scale = scale / query.norm(dim=-1).clamp(min=NORM_EPS)
            key_scale = 1 / key.norm(dim=-1).clamp(min=NORM_EPS)
        if terms.head_scale is not None:
            scale = scale * terms.head_scale.to(query)
        bias, gain = torch.zeros_like(count), torch.ones_like(count)
        if variant.score == "dot-log-n":
            bias = bias - count.clamp(min=1).log()
        if variant.normalise == "count":
            gain = 1 / count.clamp(min=1)
        elif variant.normalise == "l1" and variant.positivity == "exp":
            bias = bias - rows.normaliser
        elif variant.normalise == "l1":
            gain = 1 / _not_zero(rows.normaliser)
        rise, out = torch.zeros_like(count), torch.ones_like(count)
        if variant.sharpen is not None:
            gain = gain * count / _not_zero(rows.u_max)
            rise, out = rows.offset / _not_zero(rows.u_max), 1 / _not_zero(rows.raised)
        last = torch.full((length,), problem.key_length - 1, device=query.device)
        if problem.is_causal:
            last = torch.arange(length, device=query.device) + problem.key_length - length
            last = last.clamp(min=-1)
        first = None
        if problem.window is not None:
            first = (last + 1 - problem.window).clamp(min=0)
        by_distance = _by_distance(problem, terms, query.dtype)
        return cls(scale, bias, gain, rise, out, key_scale, last, first, by_distance)


def _by_distance(problem: Problem, terms: ScoreTerms, dtype: torch.dtype) -> Tensor | None:
    """As long as the table changes: a bias alone goes on with its last entry."""
    length = problem.key_length
    if terms.distance_slope is None and terms.distance_bias is not None:
        length = min(length, terms.distance_bias.shape[1])
    table = terms.by_distance(length, dtype)
    return None if table is None else table[0]


def _not_zero(tensor: Tensor) -> Tensor:
    return tensor.masked_fill(tensor == 0, 1)
