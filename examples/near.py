"""Attention of one's own: `freeatten train --variant examples/near.py:near --text …`.

docs/own.md walks through it.
"""

import torch
from torch import Tensor


def near(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax whose scores fall by 1/32 with every token of distance; all (B, H, N, D)."""
    length, dim = query.shape[-2:]
    position = torch.arange(length, device=query.device)
    distance = position[:, None] - position
    score = query @ key.mT / dim**0.5 - distance / 32
    return score.masked_fill(distance < 0, -torch.inf).softmax(-1) @ value
