"""Attention alignment (arXiv 2311.00684): one temperature for each length, fitted on text.

The score of every head is multiplied by one number, chosen so that a statistic of the rows, its
mean over layers, heads and the last half of windows of that length, is what it is in windows of
the training length. Fitted on other texts than those that are scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.data.selection import Text
from freeatten_core.models.interface import LanguageModel, Reading
from freeatten_core.ops.operator import row_statistics
from freeatten_core.variants.variant import Variant

from .scoring import Advance, pass_cost, windows_at_once

__all__ = ["FITTED_ON", "fit_temperatures", "fitting_cost", "modified_copy", "needs_temperatures"]

M = TypeVar("M", bound=LanguageModel)

LOWEST, HIGHEST = 0.25, 16.0
PRECISION = 5e-3
"""Of log temperature."""
FITTED_ON = 2
"""Texts of the longest length that temperatures are fitted on."""
EXPECTED_EVALUATIONS = 7
"""Of the statistic at one length; the search takes 6 or 7 with the shipped checkpoints."""


def needs_temperatures(variant: Variant, trained: int, lengths: Sequence[int]) -> bool:
    """Whether there is anything to fit: `align`, and a length beyond the training length."""
    return variant.modifier("align") is not None and max(lengths) > trained


def fitting_cost(
    variant: Variant, trained: int, texts: Sequence[Text], lengths: Sequence[int]
) -> float:
    """What `fit_temperatures` reports to `advance` in all; 0 when there is nothing to fit."""
    if not needs_temperatures(variant, trained, lengths):
        return 0.0
    longer = [length for length in set(lengths) if length > trained]
    searched = sum(_evaluation_cost(texts, length) for length in longer)
    return _evaluation_cost(texts, trained) + EXPECTED_EVALUATIONS * searched


def modified_copy(
    model: M,
    variant: Variant,
    lengths: Sequence[int],
    texts: Sequence[Text] = (),
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    restart: int | None = None,
    advance: Advance = lambda _: None,
) -> tuple[M, dict[int, float] | None]:
    """A model with a variant's modifiers, and the temperatures if `align` is one.

    Args:
        model: without modifiers; stays as it is.
        variant: the model's own with modifiers.
        lengths: tokens; modifiers are set for the longest.
        texts: what `align` is fitted on, where `needs_temperatures` says so.
        device, dtype: of what is given back.
        restart: keys that a row sees under `window`; None for the model's usual ones.
        advance: called with the cost of each pass of the fit.

    Raises:
        UsageError: texts that long, or the modifiers, cannot be had.
        ContentError: as `fit_temperatures` does.
    """
    model.check_length(max(lengths))
    plain = model.on(device, dtype)
    temperatures = None
    if variant.modifier("align") is not None:
        temperatures = fit_temperatures(
            plain, variant, texts, lengths, device=device, advance=advance
        )
    return plain.with_modifiers(variant, max(lengths), restart, temperatures), temperatures


@torch.inference_mode()
def fit_temperatures(
    model: LanguageModel,
    variant: Variant,
    texts: Sequence[Text],
    lengths: Sequence[int],
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
) -> dict[int, float]:
    """The temperature of every length beyond the training length; none when no length is.

    Args:
        model: on `device`, without modifiers.
        variant: the model's own with `align` among its modifiers, which are all set.
        texts: each of the longest length or more; of every length as many windows are cut from
            each as it holds whole.
        lengths: tokens.
        advance: called with the cost of each pass, `fitting_cost` in all.

    Raises:
        UsageError: `align` is not among the modifiers.
        ContentError: no temperature from 1/4 to 16 gives the statistic of the training length.
    """
    align = variant.modifier("align")
    if align is None:
        raise UsageError(f"{variant} has no align, so there is no temperature to fit")
    longest, trained = max(lengths), model.restart_length
    if not needs_temperatures(variant, trained, lengths):
        return {}

    def mean_at(length: int, temperature: float) -> float:
        temperatures = {longest: temperature, length: temperature}
        changed = model.with_modifiers(variant, longest, temperatures=temperatures)
        windows = _windows(texts, length).to(device)
        return _mean(changed, align.by, windows, reported)

    def distance(length: int, log_temperature: float) -> float:
        return mean_at(length, math.exp(log_temperature)) - wanted

    with _in_all(fitting_cost(variant, trained, texts, lengths), advance) as reported:
        wanted = mean_at(trained, 1.0)
        return {
            length: _root(partial(distance, length), length, align.by)
            for length in sorted(set(lengths))
            if length > trained
        }


def _windows(texts: Sequence[Text], length: int) -> Tensor:
    """As many whole windows as each text holds, (windows, length)."""
    whole = [text.tokens[: len(text.tokens) // length * length] for text in texts]
    return torch.cat([torch.from_numpy(tokens).view(-1, length) for tokens in whole])


def _evaluation_cost(texts: Sequence[Text], length: int) -> float:
    return pass_cost(sum(len(text.tokens) // length for text in texts), length)


@contextmanager
def _in_all(announced: float, advance: Advance) -> Iterator[Advance]:
    """Report costs up to what was announced, and at the end what is left of it.

    How often a search evaluates is not known before, and progress is to end where it was said to.
    """
    left = announced

    def report(cost: float) -> None:
        nonlocal left
        reported = min(cost, left)
        left -= reported
        advance(reported)

    yield report
    advance(left)


def _mean(model: LanguageModel, statistic: str, windows: Tensor, advance: Advance) -> float:
    """Of the last half of the rows of windows (n, length), over layers and heads."""
    found: list[Tensor] = []

    def observe(_layer: int, query: Tensor, key: Tensor, reading: Reading) -> None:
        given = {"enable_gqa": True, "window": reading.window, **reading.terms._asdict()}
        rows = row_statistics(query, key, reading.computed, **given)
        values: Tensor = getattr(rows, statistic)
        found.append(values[..., windows.shape[1] // 2 :].double().mean(dim=(1, 2)))

    batch = windows_at_once(windows.device, windows.shape[1])
    for part in torch.split(windows, batch):
        model.run(part, observe, lambda _: None)
        advance(pass_cost(*part.shape))
    return float(torch.cat(found).mean())


def _root(distance: Callable[[float], float], length: int, statistic: str) -> float:
    """The temperature where the distance, of log temperature, is 0."""
    from scipy.optimize import brentq  # a third of a second that few rows need

    low, high = math.log(LOWEST), math.log(HIGHEST)
    distance = cache(distance)  # `brentq` evaluates the ends again
    if not distance(low) * distance(high) <= 0:  # a statistic can be NaN
        raise ContentError(
            f"align: no temperature from {LOWEST} to {HIGHEST:.0f} gives texts of {length:,} "
            f"tokens the {statistic} of the training length"
        )
    return math.exp(float(brentq(distance, low, high, xtol=PRECISION)))
