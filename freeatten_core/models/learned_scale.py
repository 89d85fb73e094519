"""What a head learns to multiply its scores with, by the number of keys that a row sees.

It rides on the query: `(f · q)·k = f · (q·k)`, so that whatever computes an attention computes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freeatten_core.variants.setting import Scale

__all__ = ["LearnedScale", "scale_numbers", "scaled_heads"]


class LearnedScale(nn.Module):
    """The factor of every head and position.

    With N the keys that a row sees: `m · log N` (SSMax, arXiv 2501.19399), `m · log N + b` with
    `bias`, or `1 + softplus(w·x) · log(N + 1)^(2 tanh(u·x))` of the layer's input x (ASEntmax,
    arXiv 2506.16640; by its authors' code N + 1, and heads with ALiBi have none).
    """

    def __init__(self, kind: Scale, width: int, kinds: Sequence[str], train_length: int) -> None:
        """For a layer whose heads have positions of those `kinds`."""
        super().__init__()
        self.kind, self.train_length = kind, train_length
        self.scaled = scaled_heads(kind, kinds)
        heads = sum(self.scaled)
        adaptive = kind == "adaptive"
        self.slope = None if adaptive else nn.Parameter(torch.empty(heads))
        self.bias = nn.Parameter(torch.empty(heads)) if kind == "log-n-bias" else None
        self.strength = nn.Linear(width, heads, bias=False) if adaptive else None
        self.exponent = nn.Linear(width, heads, bias=False) if adaptive else None

    def start(self) -> None:
        """What is not drawn: factors of 1 at the training length."""
        if self.slope is not None:
            self.slope.fill_(1 / math.log(max(2, self.train_length)))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, query: Tensor, hidden: Tensor, window: int | None) -> Tensor:
        """Queries (B, H, L, D) times their factors.

        Args:
            hidden: the layer's input, (B, L, width).
            window: how many keys a row sees at most.
        """
        with torch.autocast(query.device.type, enabled=False):
            count = torch.arange(1, query.shape[2] + 1, device=query.device, dtype=torch.float32)
            factor = self._factor(hidden, count if window is None else count.clamp(max=window))
            if not all(self.scaled):
                parts, ones = iter(factor.unbind(1)), torch.ones_like(factor[:, 0])
                factor = torch.stack([next(parts) if x else ones for x in self.scaled], dim=1)
            return (query * factor[..., None]).to(query.dtype)

    def _factor(self, hidden: Tensor, count: Tensor) -> Tensor:
        """(B or 1, heads that are scaled, L), float32 or wider."""
        if self.strength is not None and self.exponent is not None:
            hidden = hidden.to(self.strength.weight.dtype)
            power = 2 * torch.tanh(self.exponent(hidden))
            grown = (count + 1).log()[:, None] ** power
            return (1 + F.softplus(self.strength(hidden)) * grown).mT
        assert self.slope is not None
        factor = self.slope[:, None] * count.log()
        return (factor if self.bias is None else factor + self.bias[:, None])[None]


def scaled_heads(kind: Scale, kinds: Sequence[str]) -> tuple[bool, ...]:
    """Which heads of a layer are scaled, from their positions."""
    return tuple(kind != "adaptive" or each != "alibi" for each in kinds)


def scale_numbers(kind: Scale, width: int, kinds: Sequence[str]) -> int:
    """Of one layer, in the weights."""
    each = {"log-n": 1, "log-n-bias": 2, "adaptive": 2 * width}[kind]
    return each * sum(scaled_heads(kind, kinds))
