"""What every back-end says of a row, without its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import Tensor

from .call import Problem

__all__ = ["SMALL", "RowStatistics"]

SMALL = 1e-6
"""`small` counts the weights below this."""


@dataclass(frozen=True)
class RowStatistics:
    """One number a row, each (B, H, Lq); weights `w` of a row that sees `N` keys.

    Entropy, `sum_squares` and `mean_distance` are of the row divided by its sum: rows of
    `sigmoid`, `relu` and `count` variants do not sum to 1. The first four give the weights of
    any keys back, at the cost of those keys alone; of stick-breaking they give none. What no key
    takes there, the remainder, counts as the weight of the row's own key.
    """

    normaliser: Tensor
    """`log Σ exp(s)` for `exp`, `S = Σ f` for other positivities. `log(1 + Σ exp(s))` for
    `off-by-one`, `log Σ |exp(s) − 1|` for `softpick`, `τ` for `entmax15`, 1 for stick-breaking."""
    u_max: Tensor
    """The largest `N·a − O`; for variants without sharpening the largest `f` (after the shift), for
    `softpick`, `entmax15` and stick-breaking the largest weight."""
    offset: Tensor
    """`O` of the re-weighting, 0 or 1."""
    raised: Tensor
    """`R = Σ (relu(N·a − O) / u_max)^p`; 1 for variants without sharpening."""
    entropy: Tensor
    """`−Σ w log w`, in nats."""
    largest: Tensor
    """`max w`."""
    first: Tensor
    """`w` on the first token."""
    sum_squares: Tensor
    """`Σ w²`; its inverse counts the tokens that a row effectively reads."""
    mean_distance: Tensor
    """`Σ w · (own position − j)`, in tokens."""
    row_sum: Tensor
    """`Σ w`, of the weights as rounded to the input's type."""
    zeros: Tensor
    """The share of visible keys whose weight is exactly 0: `N·a <= O`, or `s <= 0` for `relu`. A
    power or an exponential that underflows is not one."""
    small: Tensor
    """The share of visible keys whose weight is below 1e-6, zeros included."""

    @classmethod
    def empty(cls, problem: Problem, like: Tensor) -> RowStatistics:
        shape = (
            problem.batch * problem.kv_heads,
            problem.groups,
            problem.query_length,
        )
        return cls(**{field.name: like.new_zeros(shape) for field in fields(cls)})

    def map(self, change: Callable[[Tensor], Tensor]) -> RowStatistics:
        """The same with every tensor changed, for example moved or indexed."""
        return RowStatistics(**{f.name: change(getattr(self, f.name)) for f in fields(self)})
