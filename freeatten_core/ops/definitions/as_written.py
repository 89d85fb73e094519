"""Every variant as its formula is written, without what keeps it inside a number type's range.

`staged` beside it subtracts the row maximum before `exp`, takes `log(1 + e^s)` by a
function that neither overflows nor cancels, and divides by the row maximum before the row sum and
before the power `p`.
Here none of that is done, so that what it is worth can be measured: a baseline, and on purpose a
second definition of the stages in PyTorch, which nothing else uses. Causal calls alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from freeatten_core.variants.stages import Computed, Positivity, stages_of
from freeatten_core.variants.variant import Variant

from ..call import SOFTPICK_EPS, what_computes
from . import staged
from .entmax import thresholds
from .stick_breaking import own_keys

__all__ = ["attention_as_written", "scores"]

WRITTEN: Mapping[Positivity, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "softplus": lambda score: torch.log(1 + torch.exp(score)),
    "sigmoid": lambda score: 1 / (1 + torch.exp(-score)),
    "relu": torch.relu,
    "softpick": lambda score: torch.relu(torch.exp(score) - 1),
    "entmax15": lambda score: torch.relu(score / 2) ** 2,
}
"""The positivities; `torch.nn.functional.softplus` and `torch.sigmoid` have guards of their own."""


def scores(query: Tensor, key: Tensor, variant: Variant | Computed | str) -> tuple[Tensor, Tensor]:
    """The score stage, (B, H, Lq, Lk) with 0 on hidden keys, and what is visible, (Lq, Lk)."""
    chosen = stages_of(what_computes(variant))
    cheapest = replace(chosen, positivity="relu", normalise="none", sharpen=None)
    values = staged.stages(query, key, cheapest)
    return values.score, values.visible


def attention_as_written(
    query: Tensor, key: Tensor, value: Tensor, variant: Variant | Computed | str
) -> Tensor:
    """`Σ_j w_ij v_j`, (B, H, Lq, Dv), every stage in the type of the inputs.

    Args:
        query: (B, H, Lq, D).
        key, value: (B, H, Lk, D) and (B, H, Lk, Dv), Lk >= Lq.
        variant: without modifiers.
    """
    stages = stages_of(what_computes(variant))
    score, visible = scores(query, key, stages)
    if stages.positivity == "entmax15":
        score = score - 2 * thresholds(score, visible)
    positive = torch.where(visible, WRITTEN[stages.positivity](score), torch.zeros_like(score))
    count = visible.sum(-1, keepdim=True).to(score.dtype)
    if stages.normalise == "l1":
        weights = positive / positive.sum(-1, keepdim=True)
    elif stages.normalise == "off-by-one":
        weights = positive / (1 + positive.sum(-1, keepdim=True))
    elif stages.normalise == "absolute":
        apart = torch.where(visible, torch.exp(score) - 1, torch.zeros_like(score)).abs()
        weights = positive / (apart.sum(-1, keepdim=True) + SOFTPICK_EPS)
    elif stages.normalise == "count":
        weights = positive / count
    elif stages.normalise == "stick-breaking":
        weights = _broken(positive, visible)
    else:
        weights = positive
    if stages.sharpen is not None:
        share = weights * count
        above = torch.relu(share - staged.offset(share, count))
        raised = above**stages.sharpen
        weights = raised / raised.sum(-1, keepdim=True)
    return weights @ value


def _broken(shares: Tensor, visible: Tensor) -> Tensor:
    """`β_j Π_{j<k<i} (1 − β_k)`, and what is left to the row's own key."""
    own = own_keys(visible)
    shares = torch.where(own, torch.zeros_like(shares), shares)
    left = (1 - shares).flip(-1).cumprod(-1).flip(-1)  # after a key and all nearer ones
    before = torch.cat([left[..., 1:], torch.ones_like(left[..., :1])], dim=-1)
    return torch.where(own, left[..., :1], shares * before)
