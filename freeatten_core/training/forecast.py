"""What a training will take, before it starts."""

from __future__ import annotations

import torch

from freeatten_core.basics.memory import available_bytes
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import Forecast, check_memory, fastest, training_bytes
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

from .gradients import FreshGradients
from .recipe import Recipe

__all__ = ["check_fits", "forecast"]

FORWARD_SHARE = 1 / 3
"""Of a step's time; validation is a forward pass alone."""


def forecast(recipe: Recipe, variant: Variant, device: torch.device) -> Forecast:
    """Memory and time of a training; on a CPU takes the time of four windows itself.

    The time is rough: a batch is taken for so many times one window. On a GPU, where a step is
    compiled first, there is no probe.
    """
    kept, peak = _bytes(recipe, variant, device)
    seconds = None if device.type == "cuda" else _seconds(recipe, variant, device)
    return Forecast(peak, kept, seconds, available_bytes(device))


def check_fits(recipe: Recipe, variant: Variant, device: torch.device) -> None:
    """Whether a training fits in memory.

    Raises:
        UsageError: it does not; with the numbers, and a batch that does if there is one.
    """

    def remedy(available: int) -> str:
        batch = recipe.batch // 2
        while batch:
            needed = _bytes(recipe.changed(batch=batch), variant, device)[1]
            if needed <= available:
                return f"with {batch} windows (--batch {batch}) it is {needed / 1e9:.1f} GB"
            batch //= 2
        return "train a smaller model, at a shorter length, or with a smaller vocabulary"

    work = f"training with {recipe.batch} windows of {recipe.train_length:,} tokens a step"
    check_memory(work, _bytes(recipe, variant, device)[1], device, remedy)


def _bytes(recipe: Recipe, variant: Variant, device: torch.device) -> tuple[int, int]:
    own = isinstance(variant.computes, OwnFunctionName)
    compiled = device.type == "cuda" and not own
    return training_bytes(recipe.config(variant), recipe.batch, compiled=compiled)


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
