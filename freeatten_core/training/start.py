"""What a training begins with in the place of drawn weights: a checkpoint that is trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model, parameter_shapes
from freeatten_core.models.format import WEIGHTS

__all__ = ["Start"]

KEPT = ("width", "layers", "heads", "kv_heads", "mlp_width", "vocab_size", "rope_base")
"""What a model has in common with the one that it begins as; the training length may be another."""


@dataclass(frozen=True)
class Start:
    """A checkpoint's weights."""

    name: str
    model: Model
    sha256: str
    """Of the file of its weights."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Start:
        content = (checkpoint.folder / WEIGHTS).read_bytes()
        return cls(checkpoint.name, checkpoint.model, hashlib.sha256(content).hexdigest())

    @property
    def about(self) -> dict[str, str]:
        """For `curve.json`, and to tell one run from another."""
        return {"checkpoint": self.name, "sha256": self.sha256}

    @property
    def sizes(self) -> dict[str, Any]:
        """What a recipe has of it, unless asked otherwise."""
        return {each: getattr(self.model.config, each) for each in (*KEPT, "train_length")}

    def check(self, config: ModelConfig) -> None:
        """Whether a model of that configuration has a place for every weight.

        Raises:
            UsageError: another size, or a weight that the variant does not have.
        """
        own = self.model.config
        for each in KEPT:
            if getattr(own, each) != getattr(config, each):
                raise UsageError(
                    f"{self.name} has {each} {getattr(own, each)}, and {getattr(config, each)} is "
                    "asked for; what is trained on keeps its size"
                )
        shapes = parameter_shapes(config)
        for name, weight in self.model.named_parameters():
            if shapes.get(name) != tuple(weight.shape):
                raise UsageError(
                    f"{self.name} computes {own.variant}, whose {name} {config.variant} has no "
                    "place for; train on what it has"
                )

    @torch.no_grad()
    def fill(self, model: Model) -> None:
        """Put the weights into a model with drawn ones, which keeps those of other names."""
        own: dict[str, Tensor] = dict(self.model.named_parameters())
        for name, weight in model.named_parameters():
            if name in own:
                weight.copy_(own[name])
