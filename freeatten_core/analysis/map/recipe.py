"""What turns a score into a weight, as a few numbers a row: the same operations for every variant.

    s = cap(scale[i] · key_scale[j] · (query[i] · key[j])) + bias[i] + by_distance[last[i] − j]
        (+ c for e^s; other f are multiplied with e^c)      c = decay[last[i]] − decay[j]
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
    cap        softcap · tanh(x / softcap); x itself where scores have no bound
    by_distance  what slope and bias add at distance 0, 1, …; its last entry beyond; absent where
               there is neither
    decay      the running sum of what a forget gate keeps, a key each; absent without one
    first      the first key that a row sees; absent without a window

Stick-breaking alone needs more than a key and a row: it goes on from what the nearer keys left.

    carry[i, b]  −Σ log(1 + e^s) over the visible keys from key (b + 1) · BLOCK on
    w = e^(s[j] + carry[i, b] − Σ log(1 + e^s[k]))      over k from j to the end of its block b
    w = out[i]                                         of the row's own key, which has no s

Softpick is `e^s/T − 1/T` above 0, entmax `(s/2 − τ)²` above 0: what sharpening by 1 of `exp` and by
2 of `relu` computes, so both are told as that.

Max pooling commutes with all but this and e^c, since a row's weight never falls as its score rises:
scores are pooled first, and the elementwise work shrinks by the size of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from freeatten_core.ops.call import NORM_EPS, Problem, ScoreTerms
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Positivity

__all__ = ["BLOCK", "RECIPE", "Recipe"]

BLOCK = 256
"""Keys between two carries: as many bytes as the pyramid of a map has."""

RECIPE = ("scale", "bias", "gain", "rise", "out")
"""A number a row each."""


_TOLD_AS: Mapping[Positivity, tuple[Positivity, int]] = {
    "softpick": ("exp", 1),
    "entmax15": ("relu", 2),
}


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
    positivity: Positivity
    power: int | None
    """What `f` and `p` are; of softpick and entmax not the variant's."""
    first: Tensor | None = None
    """(Lq,), under a window alone."""
    by_distance: Tensor | None = None
    """(n,), where scores depend on the distance alone."""
    decay: Tensor | None = None
    """(Lk,), where a gate forgets."""
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
        elif variant.divides_by_sum and variant.positivity == "exp":
            bias = bias - rows.normaliser
        elif variant.positivity == "entmax15":
            bias, gain = bias - 2 * rows.normaliser, gain / 2
        elif variant.positivity == "softpick":
            bias = bias - rows.normaliser
        elif variant.normalise == "l1":
            gain = 1 / _not_zero(rows.normaliser)
        rise, out = torch.zeros_like(count), torch.ones_like(count)
        if variant.positivity == "softpick":
            rise = (-rows.normaliser).exp()
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
        kind = _TOLD_AS.get(variant.positivity, (variant.positivity, variant.sharpen))
        decay = None if terms.decay is None else terms.decay[0, 0].to(query)
        return cls(scale, bias, gain, rise, out, key_scale, last, *kind, first, by_distance, decay)


def _by_distance(problem: Problem, terms: ScoreTerms, dtype: torch.dtype) -> Tensor | None:
    """As long as the table changes: a bias alone goes on with its last entry."""
    length = problem.key_length
    if terms.distance_slope is None and terms.distance_bias is not None:
        length = min(length, terms.distance_bias.shape[1])
    table = terms.by_distance(length, dtype)
    return None if table is None else table[0]


def _not_zero(tensor: Tensor) -> Tensor:
    return tensor.masked_fill(tensor == 0, 1)
