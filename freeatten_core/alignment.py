"""Attention alignment (arXiv 2311.00684): one temperature for each length, fitted on text.

The score of every head is multiplied by one number, chosen so that a statistic of the rows, its
mean over layers, heads and the last half of windows of that length, is what it is in windows of
the training length. Fitted on other texts than those that are scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from scipy.optimize import brentq
from torch import Tensor

from .attention import row_statistics
from .errors import ContentError, UsageError
from .evaluation import BATCH_TOKENS, Text
from .model import Model
from .variants import Variant

LOWEST, HIGHEST = 0.25, 16.0
PRECISION = 5e-3
"""Of log temperature."""
FITTED_ON = 2
"""Texts of the longest length that temperatures are fitted on."""


@torch.inference_mode()
def fit_temperatures(
    model: Model,
    variant: Variant,
    texts: Sequence[Text],
    lengths: Sequence[int],
    *,
    device: torch.device,
) -> dict[int, float]:
    """The temperature of every length beyond the training length.

    Args:
        model: on `device`, without modifiers.
        variant: the model's own with `align` among its modifiers, which are all set.
        texts: each of the longest length or more; windows of every length are cut from them.
        lengths: tokens.

    Raises:
        UsageError: `align` is not among the modifiers.
        ContentError: no temperature from 1/4 to 16 gives the statistic of the training length.
    """
    align = variant.modifier("align")
    if align is None:
        raise UsageError(f"{variant} has no align, so there is no temperature to fit")
    longest, trained = max(lengths), model.config.train_length
    tokens = torch.stack([torch.from_numpy(text.tokens[:longest]) for text in texts]).to(device)

    def mean_at(length: int, temperature: float) -> float:
        changed = model.with_modifiers(
            variant, longest, {longest: temperature, length: temperature}
        )
        return _mean(changed, variant, align.by, tokens.view(-1, length))

    def distance(length: int, log_temperature: float) -> float:
        return mean_at(length, math.exp(log_temperature)) - wanted

    wanted = mean_at(trained, 1.0)
    return {
        length: _root(partial(distance, length), length, align.by)
        for length in sorted(lengths)
        if length > trained
    }


def _mean(model: Model, variant: Variant, statistic: str, windows: Tensor) -> float:
    """Of the last half of the rows of windows (n, length), over layers and heads."""
    found: list[Tensor] = []

    def observe(_layer: int, query: Tensor, key: Tensor) -> None:
        rows = row_statistics(query, key, variant.attention, enable_gqa=True)
        values: Tensor = getattr(rows, statistic)
        found.append(values[..., windows.shape[1] // 2 :].double().mean(dim=(1, 2)))

    batch = max(1, BATCH_TOKENS.get(windows.device.type, BATCH_TOKENS["cpu"]) // windows.shape[1])
    for part in torch.split(windows, batch):
        model.hidden(part, observe=observe)
    return float(torch.cat(found).mean())


def _root(distance: Callable[[float], float], length: int, statistic: str) -> float:
    """The temperature where the distance, of log temperature, is 0."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    if distance(low) * distance(high) > 0:
        raise ContentError(
            f"align: no temperature from {LOWEST} to {HIGHEST:.0f} gives texts of {length:,} "
            f"tokens the {statistic} of the training length"
        )
    return math.exp(float(brentq(distance, low, high, xtol=PRECISION)))
