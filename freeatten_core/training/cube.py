"""Which models of the ablation cube are trained, by one recipe."""

from __future__ import annotations

from dataclasses import dataclass

from freeatten_core.models.catalogue import slug
from freeatten_core.results.cube import CUBE, FACTORED, NORMALISED, SEEDED
from freeatten_core.variants.variant import Variant

from .recipe import Recipe

__all__ = ["RECIPE", "Cell", "cells"]

RECIPE = Recipe(steps=2_000, learning_rates=(4e-3, 8e-3), search_steps=200)
CEILING_LENGTH = 4096
"""Softmax trained at this length shows what there is to gain from a longer context."""


@dataclass(frozen=True)
class Cell:
    """One model to train; at another length, with as many tokens a step."""

    variant: Variant
    seed: int = 0
    train_length: int = RECIPE.train_length
    recipe: Recipe = RECIPE

    @property
    def name(self) -> str:
        """A folder's name that says what it is."""
        text = slug(self.variant)
        if self.train_length != self.recipe.train_length:
            text += f"-{self.train_length}"
        return f"{text}.{self.seed}"

    @property
    def options(self) -> list[str]:
        """Of `freeatten train`, besides the text."""
        recipe = self.recipe
        rates = ",".join(f"{rate:g}" for rate in recipe.learning_rates)
        found = ["--variant", str(self.variant), "--steps", str(recipe.steps), "--lr", rates]
        found += ["--search-steps", str(recipe.search_steps), "--seed", str(self.seed)]
        if self.train_length != recipe.train_length:
            batch = recipe.batch * recipe.train_length // self.train_length
            found += ["--length", str(self.train_length), "--batch", str(batch)]
        return found


def cells() -> list[Cell]:
    """Every model of the cube, the most wanted first."""
    first = [Cell(Variant.parse(name)) for name in (*CUBE, *NORMALISED, *FACTORED)]
    seeds = [Cell(Variant.parse(name), seed) for seed in (1, 2) for name in SEEDED]
    return [*first, *seeds, Cell(Variant(), train_length=CEILING_LENGTH)]
