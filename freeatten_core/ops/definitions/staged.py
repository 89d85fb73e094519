"""Every variant, eager and dense: the definition that the kernels are tested against.

Written to be read next to the formulas and run in float64 on small inputs; it holds the whole
(query × key) matrix. The formulas are those of arXiv 2501.13428 for LSSA and LSSAR, and of the
sources named in `freeatten_core.variants.variant` for the others; two rules are this project's own
and marked so. A stage that takes more than a line stands in a file of its own beside this one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from freeatten_core.variants.stages import Computed, Normalise, Positivity, Stages, stages_of
from freeatten_core.variants.variant import Variant

from ..call import FIRST_ROWS, NORM_EPS, UNIFORM_TOLERANCE, ScoreTerms, what_computes
from .entmax import thresholds
from .softpick import picked
from .stick_breaking import broken_sticks, own_keys

__all__ = [
    "StageValues",
    "make_positive",
    "make_score",
    "normalise",
    "offset",
    "reference_attention",
    "sharpen",
    "stages",
    "unit",
    "visible_keys",
]


class StageValues(NamedTuple):
    """What each stage leaves, shape (B, H, Lq, Lk); keys that a row does not see hold 0."""

    score: Tensor
    positivity: Tensor
    normalise: Tensor
    weights: Tensor
    visible: Tensor
    """bool, (Lq, Lk)"""
    offset: Tensor
    """`O`, what the re-weighting subtracts from `N·a`, (B, H, Lq, 1); 0 without sharpening."""


def visible_keys(
    query_length: int,
    key_length: int,
    *,
    is_causal: bool,
    window: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Which keys each row sees: bool (Lq, Lk), causal masks aligned bottom-right."""
    last = torch.arange(query_length, device=device) + key_length - query_length
    key = torch.arange(key_length, device=device)
    if not is_causal:
        return torch.ones(query_length, key_length, dtype=torch.bool, device=device)
    visible = key <= last[:, None]
    return visible if window is None else visible & (key > last[:, None] - window)


def _distance(query_length: int, key_length: int, device: torch.device) -> Tensor:
    """`i − j` between a row's own key and every key, (Lq, Lk); negative for later keys."""
    own = torch.arange(query_length, device=device) + key_length - query_length
    return own[:, None] - torch.arange(key_length, device=device)


def unit(vectors: Tensor) -> Tensor:
    """`x / max(‖x‖, eps)` over the last dimension, with no gradient where ‖x‖ <= eps."""
    norm = vectors.norm(dim=-1, keepdim=True)
    small = norm <= NORM_EPS
    safe = torch.where(small, torch.ones_like(vectors), vectors)
    direction = safe / safe.norm(dim=-1, keepdim=True)
    return torch.where(small, vectors.detach() / NORM_EPS, direction)


def make_score(
    chosen: Stages,
    query: Tensor,
    key: Tensor,
    count: Tensor,
    terms: ScoreTerms,
    softcap: float | None = None,
) -> Tensor:
    """The score of every query and key, hidden ones too; `count` is N of each row, (Lq, 1)."""
    query_length, dim = query.shape[-2:]
    if chosen.scale is not None:
        score = chosen.scale * (unit(query) @ unit(key).mT)
    elif chosen.cosine:
        dim_factor = 1.0 if chosen.score == "count-cosine" else math.log(dim)
        count_factor = 1.0 if chosen.score == "dim-cosine" else count.clamp(min=1).log()
        score = dim_factor * count_factor * (unit(query) @ unit(key).mT)
    else:
        score = query @ key.mT / math.sqrt(dim)
    if terms.head_scale is not None:
        score = score * terms.head_scale[:, None, None]
    if softcap is not None:
        score = softcap * torch.tanh(score / softcap)
    if chosen.score == "dot-log-n":
        score = score - count.clamp(min=1).log()
    distance = _distance(query_length, key.shape[-2], query.device)
    if terms.distance_slope is not None:
        score = score - terms.distance_slope[:, None, None] * distance.to(query.dtype)
    if terms.distance_bias is not None:
        score = score + terms.distance_bias[:, distance.clamp(0, terms.distance_bias.shape[-1] - 1)]
    return score


def _fallen(decay: Tensor, score: Tensor) -> Tensor:
    """`c_i − c_j` of every query and key, (B, H, Lq, Lk); rows are the last of the keys."""
    query_length, key_length = score.shape[-2:]
    own = torch.arange(query_length, device=score.device) + key_length - query_length
    decay = decay.to(score.dtype)
    return decay[..., own.clamp(min=0), None] - decay[..., None, :]


def make_positive(positivity: Positivity, score: Tensor) -> Tensor:
    """The positivity of scores, none of them hidden."""
    match positivity:
        case "exp":
            return torch.exp(score)
        case "softplus":  # log(1 + e^s) with full relative accuracy for very negative s
            return torch.logaddexp(score, torch.zeros_like(score))
        case "sigmoid":
            return torch.sigmoid(score)
        case "relu":
            return torch.relu(score)
        case "softpick":
            return torch.relu(torch.expm1(score))
        case "entmax15":  # of scores less twice the row's threshold
            return torch.relu(score / 2) ** 2


def normalise(
    kind: Normalise, positive: Tensor, count: Tensor, one: Tensor | None = None
) -> Tensor:
    """Positive scores, 0 on hidden keys, divided by what the variant divides them by.

    Args:
        kind: not `stick-breaking` or `absolute`, which need the scores.
        positive: for `off-by-one` less its shift, as `one`.
        one: what the exponential of a score of 0 is after the shift, (..., Lq, 1).
    """
    if kind == "count":
        return positive / count.clamp(min=1)
    if kind == "none":
        return positive
    # the largest is divided out first, which cancels: in float16 the sum of a long row of
    # softpluses leaves the range
    highest = positive.amax(-1, keepdim=True).detach()
    safe = positive / torch.where(highest == 0, torch.ones_like(highest), highest)
    total = safe.sum(-1, keepdim=True)
    if one is not None:
        total = total + one / torch.where(highest == 0, torch.ones_like(highest), highest)
    return safe / torch.where(total == 0, torch.ones_like(total), total)


def stages(
    query: Tensor,
    key: Tensor,
    variant: Variant | Computed | str,
    *,
    is_causal: bool = True,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    distance_bias: Tensor | None = None,
    decay: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> StageValues:
    """All four stages of one variant.

    Args:
        query, key: (B, H, Lq, D) and (B, H, Lk, D).
        variant: its name or value.
        is_causal: row i sees keys up to Lk − Lq + i.
        head_scale: (H,), multiplies the score.
        distance_slope: (H,), `slope · distance` is subtracted from the score.
        distance_bias: (H, T), added at distance 0 … T − 1, its last entry at every one beyond.
        decay: (B, H, Lk), never rising: a pair keeps `exp(c_i − c_j)` of its positivity
            (arXiv 2503.02130).
        window: a causal row sees at most this many keys.
        softcap: bound of the scores before anything is added (arXiv 2408.00118).
    """
    chosen = stages_of(what_computes(variant))
    visible = visible_keys(
        query.shape[-2],
        key.shape[-2],
        is_causal=is_causal,
        window=window,
        device=query.device,
    )
    count = visible.sum(-1, keepdim=True).to(query.dtype)  # N, (Lq, 1)

    terms = ScoreTerms(head_scale, distance_slope, distance_bias)
    score = make_score(chosen, query, key, count, terms, softcap)
    zero = torch.zeros((), dtype=score.dtype, device=score.device)
    fallen = zero if decay is None else torch.where(visible, _fallen(decay, score), zero)
    exponential = chosen.positivity == "exp"
    score = torch.where(visible, score + fallen if exponential else score, zero)
    shift = _shift(chosen, score, visible)
    positive = torch.where(visible, make_positive(chosen.positivity, score - shift), zero)
    if not exponential:
        positive = positive * fallen.exp()
    if chosen.normalise == "stick-breaking":
        positive = torch.where(own_keys(visible), torch.ones_like(positive), positive)  # the rest
        normalised = broken_sticks(score, visible)
    elif chosen.normalise == "absolute":
        normalised = picked(score, visible)
    else:
        one = (-shift).exp() if chosen.normalise == "off-by-one" else None
        normalised = normalise(chosen.normalise, positive, count, one)
    weights, subtracted = normalised, torch.zeros_like(normalised[..., :1])
    if chosen.sharpen is not None:
        subtracted = offset(normalised * count, count)
        weights = sharpen(normalised, count, visible, subtracted, chosen.sharpen)
    return StageValues(score, positive, normalised, weights, visible, subtracted)


def _shift(chosen: Stages, score: Tensor, visible: Tensor) -> Tensor:
    """What is subtracted from the scores of a row before the positivity, (..., Lq, 1) or ().

    Of `exp` it cancels in the sum, and has no gradient; the threshold of `entmax15` has one.
    """
    if chosen.positivity == "entmax15":
        return 2 * thresholds(score, visible)
    if chosen.positivity != "exp" or not chosen.divides_by_sum:
        return score.new_zeros(())
    highest = score.masked_fill(~visible, -torch.inf).amax(-1, keepdim=True).detach()
    if chosen.normalise == "off-by-one":
        return highest.clamp(min=0)
    return torch.where(highest.isfinite(), highest, torch.zeros_like(highest))


def offset(share: Tensor, count: Tensor) -> Tensor:
    """`O`, (..., Lq, 1): what the re-weighting subtracts from `N·a`, 1 or 0.

    Args:
        share: `N·a`, (..., Lq, Lk).
        count: `N`, (Lq, 1).
    """
    uniform = share.amax(-1, keepdim=True) <= 1 + UNIFORM_TOLERANCE
    return torch.where((count <= FIRST_ROWS) | uniform, 0.0, 1.0).to(share.dtype)


def sharpen(
    normalised: Tensor, count: Tensor, visible: Tensor, subtracted: Tensor, p: int
) -> Tensor:
    """Re-weighting: `relu(N·a − O)^p`, divided by its row sum; `O` is what is `subtracted`.

    Dividing by the row maximum first keeps `N^p` finite; it cancels in the normalisation, so
    it has no gradient.
    """
    above = torch.relu(normalised * count - subtracted)
    above = torch.where(visible, above, torch.zeros_like(above))
    highest = above.amax(-1, keepdim=True).detach()
    raised = (above / torch.where(highest == 0, torch.ones_like(highest), highest)) ** p
    total = raised.sum(-1, keepdim=True)
    return raised / torch.where(total == 0, torch.ones_like(total), total)


def reference_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    variant: Variant | Computed | str,
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    distance_bias: Tensor | None = None,
    decay: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """`Σ_j w_ij v_j`, (B, H, Lq, Dv); arguments as for `freeatten_core.attention`."""
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    result = stages(
        query,
        key,
        variant,
        is_causal=is_causal,
        head_scale=head_scale,
        distance_slope=distance_slope,
        distance_bias=distance_bias,
        decay=decay,
        window=window,
        softcap=softcap,
    )
    return result.weights @ value
