"""Stick-breaking attention (Tan et al., arXiv 2410.17980).

From the nearest key to the farthest, each breaks off its share `β_j = σ(s_j)` of what is left:

    a_j = β_j Π_{j<k<i} (1 − β_k)        a_i = Π_{k<i} (1 − β_k)

The row's own key `i` has no share: it takes what no other did, as in the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["broken_sticks", "own_keys"]


def own_keys(visible: Tensor) -> Tensor:
    """Which of the keys that causal rows see is a row's own, the last; bool (Lq, Lk)."""
    query_length, key_length = visible.shape
    own = torch.arange(query_length, device=visible.device) + key_length - query_length
    return visible & (torch.arange(key_length, device=visible.device) == own[:, None])


def broken_sticks(score: Tensor, visible: Tensor) -> Tensor:
    """Weights (..., Lq, Lk) of causal rows; each sums to 1.

    Args:
        score: `s`, (..., Lq, Lk).
        visible: bool, (Lq, Lk).
    """
    own = own_keys(visible)
    breaks = visible & ~own
    zero = torch.zeros((), dtype=score.dtype, device=score.device)
    left = torch.where(breaks, logsigmoid(-score), zero)  # log(1 − β)
    nearer = left.flip(-1).cumsum(-1).flip(-1) - left
    broken = torch.where(breaks, (logsigmoid(score) + nearer).exp(), zero)
    rest = torch.where(own, left.sum(-1, keepdim=True).exp(), zero)
    return broken + rest
