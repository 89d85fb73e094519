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
from .sharding import check_sharded, gathered_bytes

__all__ = ["check_fits", "forecast"]

FORWARD_SHARE = 1 / 3
"""Of a step's time; validation is a forward pass alone."""


def forecast(
    recipe: Recipe,
    variant: Variant,
    device: torch.device,
    ranks: Ranks = ALONE,
    *,
    shard: bool = False,
) -> Forecast:
    """Memory of a rank and time of a training; on a CPU takes the time of four windows itself.

    The time is rough: a batch is taken for so many times one window, and every rank for as fast
    as this one is now. On a GPU, where a step is compiled first, there is no probe.
    """
    kept, peak = _bytes(recipe, variant, device, ranks, shard=shard)
    seconds = None if device.type == "cuda" else _seconds(recipe, variant, device) / ranks.count
    return Forecast(peak, kept, seconds, available_bytes(device))


def check_fits(
    recipe: Recipe,
    variant: Variant,
    device: torch.device,
    ranks: Ranks = ALONE,
    *,
    shard: bool = False,
) -> None:
    """Whether a training fits in memory.

    Args:
        shard: whether every rank holds a part of the model.

    Raises:
        UsageError: it does not; with the numbers, and in how many parts or spread over the ranks it
            does if there is such. Or there is one process to spread it over.
    """
    if shard:
        check_sharded(ranks)

    def remedy(available: int) -> str:
        for spread in (shard, True) if ranks.count > 1 else (shard,):
            parts = recipe.parts
            while recipe.batch % (ranks.count * parts) == 0:
                smaller = replace(recipe, parts=parts)
                needed = _bytes(smaller, variant, device, ranks, shard=spread)[1]
                if needed <= available:
                    return f"{_changes(parts, recipe, spread, shard)} it is {needed / 1e9:.1f} GB"
                parts *= 2
        return "train a smaller model, at a shorter length, or with a smaller vocabulary"

    windows = _windows_at_once(recipe, ranks)
    work = f"training with {windows} windows of {recipe.train_length:,} tokens at once"
    check_memory(work, _bytes(recipe, variant, device, ranks, shard=shard)[1], device, remedy)


def _changes(parts: int, recipe: Recipe, spread: bool, shard: bool) -> str:
    """What makes it fit."""
    changes = []
    if parts != recipe.parts:
        changes.append(f"in {parts} parts (--parts {parts})")
    if spread != shard:
        changes.append("spread over the ranks (--shard)")
    return " and ".join(changes)


def _windows_at_once(recipe: Recipe, ranks: Ranks) -> int:
    return max(1, recipe.batch // (ranks.count * recipe.parts))


def _bytes(
    recipe: Recipe, variant: Variant, device: torch.device, ranks: Ranks, *, shard: bool
) -> tuple[int, int]:
    """What stays on a rank, and its peak."""
    own = isinstance(variant.computes, OwnFunctionName)
    compiled = device.type == "cuda" and not own and not shard
    config = recipe.config(variant)
    kept, peak = training_bytes(config, _windows_at_once(recipe, ranks), compiled=compiled)
    numbers = parameter_count(config)
    if shard:
        gathered = gathered_bytes(numbers, config.layers, config.vocab_size * config.width)
        return kept // ranks.count, peak - kept + kept // ranks.count + gathered
    # several ranks add their gradients in buffers that hold them all
    buckets = 4 * numbers if ranks.count > 1 else 0
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
