"""What a model's configuration says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from freeatten_core.basics.errors import UsageError
from freeatten_core.positions.layout import LayerPosition
from freeatten_core.variants.variant import Variant

__all__ = ["LayerShape", "ModelConfig"]


@dataclass(frozen=True)
class LayerShape:
    """The heads of a layer's attention."""

    heads: int
    kv_heads: int
    head_dim: int
    """Size of a query and of a key."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes a model; `checkpoint` gives it its file format.

    Raises:
        UsageError: positions that the variant's name gives the model's layers or heads cannot be.
    """

    variant: Variant
    train_length: int
    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_base: float
    slopes: tuple[tuple[float, ...], ...] | None = None
    """Of every layer and head; None for those that the variant's name gives."""

    def __post_init__(self) -> None:
        dilate = self.variant.setting.dilate
        if dilate is not None and not dilate.is_shared:
            depth = dilate.depth(self.train_length)
            if self.layers % depth:
                raise UsageError(
                    f"{self.variant} goes {depth} deep at {self.train_length} tokens; its layers "
                    f"must be a multiple of that, and are {self.layers}"
                )
        shared = self.score_heads // self.kv_heads
        for each in self.positions:
            turned = each.rotations
            if turned != tuple(by for by in turned[::shared] for _ in range(shared)):
                raise UsageError(
                    f"position {self.variant.setting.position} rotates some of the {shared} heads "
                    "that share a key; it must be all of them alike or none"
                )

    @cached_property
    def positions(self) -> tuple[LayerPosition, ...]:
        """One a layer, with its numbers."""
        named = self.variant.setting.position.of_model(self.layers, self.heads)
        parts = self.score_heads // self.heads
        named = tuple(each.repeated(parts) for each in named)
        if self.slopes is None:
            return named
        pairs = zip(named, self.slopes, strict=True)
        return tuple(replace(layer, slopes=slopes) for layer, slopes in pairs)

    def passes(self, length: int) -> list[tuple[int, int]]:
        """The blocks that a text goes through, in order, each with its stride: 1, except of dilated
        layers, which are as deep as a text of the training length needs, or a longer one."""
        dilate = self.variant.setting.dilate
        if dilate is None:
            return [(layer, 1) for layer in range(self.layers)]
        if dilate.is_shared:
            depth = dilate.depth(max(length, self.train_length))
            found = [(layer, at) for at in range(depth) for layer in range(self.layers)]
        else:
            thick = self.layers // dilate.depth(self.train_length)
            found = [(layer, layer // thick) for layer in range(self.layers)]
        return [(layer, dilate.keys**at) for layer, at in found]

    @property
    def score_heads(self) -> int:
        """How many attentions a layer has: two a head where a head is a difference."""
        return self.heads * (1 if self.variant.setting.heads is None else 2)

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @cached_property
    def shapes(self) -> tuple[LayerShape, ...]:
        """Of the queries and keys of every layer."""
        heads = self.score_heads, self.kv_heads
        return tuple(
            LayerShape(*heads, self.head_dim * (2 if each.doubles else 1))
            for each in self.positions
        )
