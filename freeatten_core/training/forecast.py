"""What a training will take, before it starts."""

from __future__ import annotations

from dataclasses import replace

import torch

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.memory import available_bytes
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import (
    Forecast,
    check_memory,
    fastest,
    parameter_count,
    training_bytes,
)
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

from .gradients import FreshGradients
from .recipe import Recipe

__all__ = ["check_fits", "forecast"]

FORWARD_SHARE = 1 / 3
"""Of a step's time; validation is a forward pass alone."""


def forecast(
    recipe: Recipe, variant: Variant, device: torch.device, ranks: Ranks = ALONE
) -> Forecast:
    """Memory of a rank and time of a training; on a CPU takes the time of four windows itself.

    The time is rough: a batch is taken for so many times one window, and every rank for as fast
    as this one is now. On a GPU, where a step is compiled first, there is no probe.
    """
    kept, peak = _bytes(recipe, variant, device, ranks)
    seconds = None if device.type == "cuda" else _seconds(recipe, variant, device) / ranks.count
    return Forecast(peak, kept, seconds, available_bytes(device))


def check_fits(
    recipe: Recipe, variant: Variant, device: torch.device, ranks: Ranks = ALONE
) -> None:
    """Whether a training fits in memory.

    Raises:
        UsageError: it does not; with the numbers, and in how many parts it does if there is such.
    """

    def remedy(available: int) -> str:
        parts = 2 * recipe.parts
        while recipe.batch % (ranks.count * parts) == 0:
            needed = _bytes(replace(recipe, parts=parts), variant, device, ranks)[1]
            if needed <= available:
                return f"in {parts} parts (--parts {parts}) it is {needed / 1e9:.1f} GB"
            parts *= 2
        return "train a smaller model, at a shorter length, or with a smaller vocabulary"

    windows = _windows_at_once(recipe, ranks)
    work = f"training with {windows} windows of {recipe.train_length:,} tokens at once"
    check_memory(work, _bytes(recipe, variant, device, ranks)[1], device, remedy)


def _windows_at_once(recipe: Recipe, ranks: Ranks) -> int:
    return max(1, recipe.batch // (ranks.count * recipe.parts))


def _bytes(recipe: Recipe, variant: Variant, device: torch.device, ranks: Ranks) -> tuple[int, int]:
    own = isinstance(variant.computes, OwnFunctionName)
    compiled = device.type == "cuda" and not own
    config = recipe.config(variant)
    kept, peak = training_bytes(config, _windows_at_once(recipe, ranks), compiled=compiled)
    # several ranks add their gradients in buffers that hold them all
    buckets = 4 * parameter_count(config) if ranks.count > 1 else 0
    return kept + buckets, peak + buckets


def _seconds(recipe: Recipe, variant: Variant, device: torch.device) -> float:
    """From the gradients of one window."""
    model = Model(recipe.config(variant)).to(device)
    model.initialise(recipe.seed, recipe.initial_deviation)
    window = torch.zeros(1, recipe.train_length, dtype=torch.long, device=device)
    gradients = FreshGradients(
        lambda tokens: model.token_losses(tokens, tokens).mean(), list(model.parameters())
    )
    windows = recipe.steps * recipe.batch
    evaluations = -(-recipe.steps // recipe.evaluate_every)
    if len(recipe.learning_rates) > 1:
        windows += len(recipe.learning_rates) * recipe.search_steps * recipe.batch
        evaluations += len(recipe.learning_rates)
    validated = -(-recipe.validation_windows // recipe.batch) * recipe.batch
    whole = windows + FORWARD_SHARE * evaluations * validated
    return whole * fastest(device, lambda: gradients(window))
