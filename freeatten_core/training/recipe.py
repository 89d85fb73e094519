"""The recipe of a training, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.seeds import check_seed
from freeatten_core.models.config import ModelConfig
from freeatten_core.variants.variant import Variant

__all__ = ["OPTIMIZERS", "SCHEDULES", "SIZES", "Recipe"]

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("linear", "cosine", "wsd")
DECAY = 0.2
"""Of a run by WSD (warm-up, stable, decay): the share of its steps in which the rate falls."""


@dataclass(frozen=True)
class Recipe:
    """The shipped models' recipe; `freeatten train` can change each value."""

    train_length: int = 512
    width: int = 192
    layers: int = 5
    heads: int = 3
    kv_heads: int = 3
    mlp_width: int = 576
    vocab_size: int = 4096
    rope_base: float = 10_000.0
    batch: int = 64
    parts: int = 1
    """In which a rank computes its share of a batch, one after another: less memory, as many
    windows a step."""
    steps: int = 20_000
    warmup: int = 300
    learning_rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)
    """With more than one, the best in short runs by validation loss is used."""
    schedule: str = "linear"
    search_steps: int = 800
    optimizer: str = "adamw"
    """With `muon` the matrices between hidden states are Muon's and the rest is AdamW's, by the
    same learning rate and weight decay."""
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    initial_deviation: float = 0.02
    seed: int = 0
    evaluate_every: int = 500
    validation_windows: int = 256
    save_every: int = 1_000

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}"
                )

    def changed(self, **values: Any) -> Recipe:
        """A recipe with the values that are not None replaced.

        `learning_rates` may be text, rates separated by commas.

        Raises:
            UsageError: a value out of range.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if isinstance(given.get("learning_rates"), str):
            given["learning_rates"] = _rates(given["learning_rates"])
        if "heads" in given:
            given.setdefault("kv_heads", given["heads"])
        if "width" in given:
            given.setdefault("mlp_width", 3 * given["width"])
        recipe = replace(self, **given)
        check_seed(recipe.seed)
        if recipe.width % (2 * recipe.heads):
            raise UsageError(
                f"width is {recipe.width} with {recipe.heads} heads; heads must divide half of it"
            )
        if recipe.heads % recipe.kv_heads:
            raise UsageError(
                f"kv_heads is {recipe.kv_heads} with {recipe.heads} heads; it must divide them"
            )
        if recipe.batch % recipe.parts:
            raise UsageError(
                f"batch is {recipe.batch} in {recipe.parts} parts; it must be a multiple of them"
            )
        return recipe

    def config(self, variant: Variant) -> ModelConfig:
        return ModelConfig(
            variant=variant,
            train_length=self.train_length,
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            mlp_width=self.mlp_width,
            rope_base=self.rope_base,
        )

    def warmup_steps(self, steps: int) -> int:
        """Of a run of so many steps: at most a quarter of them."""
        return max(1, min(self.warmup, steps // 4))

    def learning_rate(self, step: int, peak: float, steps: int) -> float:
        """Linear warm-up, then to zero: all the way in a line or a half cosine, or at the end."""
        warm = min(1.0, (step + 1) / self.warmup_steps(steps))
        left = 1 - step / steps
        if self.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        elif self.schedule == "wsd":
            left = min(1.0, left / DECAY)
        return peak * warm * left


_LARGER = {"train_length": 1024, "vocab_size": 16_384, "batch": 128}
SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "small": {**_LARGER, "layers": 10, "width": 384, "heads": 6, "learning_rates": (3e-3,)},
        "medium": {**_LARGER, "layers": 12, "width": 768, "heads": 12, "learning_rates": (1.5e-3,)},
    }
)
"""Models of about 25 and 105 million parameters, as changes of the shipped recipe; heads of 64.

Layers, width and heads of the larger are those of the smallest GPT-2. Their learning rate is one,
because a search would take longer than many trainings of theirs."""


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise UsageError(f"lr is {text!r}; it must be numbers between 0 and 1, such as 1e-3,3e-3")
    return rates
