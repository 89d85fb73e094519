"""A small decoder-only language model with any attention variant.

RMSNorm before each block, rotary positions, SwiGLU, tied embeddings, no biases.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freeatten_core.basics.seeds import generator
from freeatten_core.ops.call import Attend
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.positions.rope import Rope, rotate
from freeatten_core.variants.variant import Variant

from .config import ModelConfig
from .interface import Observe, Reading
from .modifiers import (
    QueryFactor,
    Temperatures,
    modified_attention,
    query_factor,
    scaled_rope,
    window_of,
)

__all__ = ["LOSS_TOKENS", "Attention", "Block", "Mlp", "Model", "parameter_shapes"]

LOSS_TOKENS = 2048
"""Logits are made for this many tokens at a time: 32 MB at a vocabulary of 4096."""


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kv_width = config.head_dim * config.kv_heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, kv_width, bias=False)
        self.value = nn.Linear(config.width, kv_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def query_key(self, hidden: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        query = self._split(self.query(hidden), self.config.heads)
        key = self._split(self.key(hidden), self.config.kv_heads)
        return rotate(query, *angles), rotate(key, *angles)

    def mix(self, hidden: Tensor, query: Tensor, key: Tensor, attend: Attend) -> Tensor:
        value = self._split(self.value(hidden), self.config.kv_heads)
        mixed = attend(query, key, value, self.config.variant.computes)
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined

    @staticmethod
    def _split(projected: Tensor, heads: int) -> Tensor:
        batch, length, width = projected.shape
        return projected.view(batch, length, heads, width // heads).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.down(F.silu(self.gate(hidden)) * self.up(hidden))
        return projected


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.mlp = Mlp(config)


class Model(nn.Module):
    """Tokens (B, L) to logits (B, L, vocabulary).

    `attend` is the attention operator used, `freeatten_core.attention` unless replaced.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.attend: Attend = grouped_attention
        self.query_factor: QueryFactor | None = None
        self.reading = Reading(config.variant.computes)
        self.rope = Rope(config.head_dim, config.rope_base, config.train_length)
        # filled later; to draw it on the meta device takes 1.2 s of imports
        empty = torch.empty(config.vocab_size, config.width)
        self.embedding = nn.Embedding(config.vocab_size, config.width, _weight=empty)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.RMSNorm(config.width, eps=1e-6)

    def initialise(self, seed: int, deviation: float = 0.02) -> None:
        """Normal weights of one deviation; those that write to the residual, less with depth."""
        draw = generator(seed)
        depth_scale = 1 / math.sqrt(2 * self.config.layers)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 1:
                    weight.fill_(1.0)
                    continue
                narrow = name.endswith(("attention.out.weight", "mlp.down.weight"))
                scale = deviation * (depth_scale if narrow else 1.0)
                drawn = torch.randn(weight.shape, generator=draw) * scale
                weight.copy_(drawn)

    def with_modifiers(
        self, variant: Variant, longest: int, temperatures: Temperatures | None = None
    ) -> Model:
        """The same weights with a variant's modifiers.

        Args:
            variant: the model's own with modifiers.
            longest: tokens of the longest text, which some modifiers are set for.
            temperatures: what `align` was fitted to.

        Raises:
            UsageError: `align` without temperatures.
        """
        model = Model.__new__(Model)
        model.__dict__.update(self.__dict__)
        model.rope = scaled_rope(self.rope, variant, longest)
        model.attend = modified_attention(self.attend, model.rope, variant)
        model.reading = Reading(variant.computes, window_of(variant, self.config.train_length))
        model.query_factor = query_factor(
            variant, self.config.train_length, self.config.head_dim, temperatures
        )
        return model

    def hidden(
        self,
        tokens: Tensor,
        *,
        angles: tuple[Tensor, Tensor] | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        """The final hidden states (B, L, width), normalised.

        Args:
            tokens: (B, L).
            angles: cos and sin of every position, when the caller keeps them.
            observe: called with every layer's query and key.
        """
        hidden = self.embedding(tokens)
        if angles is None:
            angles = self.rope.table(tokens.shape[1], tokens.device)
        for layer in range(len(self.blocks)):
            hidden = self.layer(layer, hidden, angles, self.attend, observe)
        final: Tensor = self.final_norm(hidden)
        return final

    def layer(
        self,
        layer: int,
        hidden: Tensor,
        angles: tuple[Tensor, Tensor],
        attend: Attend,
        observe: Observe | None = None,
    ) -> Tensor:
        """One layer's hidden states from those of the layer below, (B, L, width) each."""
        block = cast("Block", self.blocks[layer])
        normed = block.attention_norm(hidden)
        query, key = block.attention.query_key(normed, angles)
        if self.query_factor is not None:
            query = query * self.query_factor(query.shape[2])[:, None].to(query)
        if observe is not None:
            observe(layer, query, key)
        hidden = hidden + block.attention.mix(normed, query, key, attend)
        above: Tensor = hidden + block.mlp(block.mlp_norm(hidden))
        return above

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.hidden(tokens))

    def token_losses(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        """Nats per target, float32 (B, L − start), for the targets from `start` on.

        Args:
            tokens, targets: (B, L); `targets[:, i]` is what follows `tokens[:, i]`.
        """
        return self.losses_of(self.hidden(tokens)[:, start:], targets[:, start:])

    def losses_of(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats per target, float32 (B, L), from final hidden states (B, L, width)."""
        losses = [
            F.cross_entropy(self.logits(part).float(), goal, reduction="none")
            for part, goal in zip(
                torch.split(hidden.flatten(0, 1), LOSS_TOKENS),
                torch.split(targets.flatten(), LOSS_TOKENS),
                strict=True,
            )
        ]
        return torch.cat(losses).view(targets.shape)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, without allocating any."""
    with torch.device("meta"):
        model = Model(config)
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}
