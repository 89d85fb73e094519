"""What a model's configuration says."""

from __future__ import annotations

from dataclasses import dataclass

from freeatten_core.variants.variant import Variant

__all__ = ["LayerShape", "ModelConfig"]


@dataclass(frozen=True)
class LayerShape:
    """The heads of a layer's attention."""

    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes a model; `checkpoint` gives it its file format."""

    variant: Variant
    train_length: int
    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_base: float

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def shape(self) -> LayerShape:
        """Of every layer."""
        return LayerShape(self.heads, self.kv_heads, self.head_dim)
