"""What a capture will take, before it is made: memory and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from freeatten_core.basics.checks import check_list, check_whole, described
from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.memory import available_bytes
from freeatten_core.basics.precision import without_autocast
from freeatten_core.models.config import LayerShape
from freeatten_core.models.forecast import (
    PROBE_KEYS,
    PROBE_ROWS,
    Forecast,
    check_memory,
    fastest,
    probe,
    probe_call,
    seen_scores,
)
from freeatten_core.models.interface import LanguageModel
from freeatten_core.models.transformers_model import LOADING_TOKENS, Described
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import check, visible_scores
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Computed, OwnFunctionName
from freeatten_core.variants.variant import Variant

__all__ = [
    "check_model",
    "check_type",
    "chosen_layers",
    "forecast",
    "forecast_unread",
    "refuse_without_memory",
    "score_cost",
]

KEPT_TYPES = (torch.float32, torch.bfloat16)
PROBE_WIDTH = 2048
"""Of the matrix that stands for the weights of a model that is not read."""


def forecast(
    checkpoint: LanguageModel,
    length: int,
    layers: Sequence[int] | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    with_statistics: bool = True,
) -> Forecast:
    """Memory and time of a capture, before it starts; takes some ten milliseconds itself.

    Args:
        length: tokens.
        layers, device, dtype, with_statistics: as for `capture`.

    Raises:
        UsageError: as `capture`.
    """
    check_model(checkpoint)
    length = check_whole("length", length, 1, None)
    checkpoint.check_length(length)
    chosen = chosen_layers(checkpoint.layers, layers)
    check_type(dtype)
    device = usable_device(device)
    kept, peak = _bytes_needed(
        checkpoint, checkpoint.variant, length, chosen, dtype, with_statistics
    )
    seconds = _seconds(checkpoint, length, chosen, device, with_statistics)
    return Forecast(peak, kept, seconds, available_bytes(device))


def forecast_unread(
    described: Described,
    length: int,
    layers: Sequence[int] | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Forecast:
    """Memory and time of a capture of a model of others of which no weight has been read.

    Its weights are counted as they are kept, in float32. The time is of what a load tries, of the
    pass and of the statistics, from a small attention and a product of matrices that are tried
    here; reading or fetching the weights comes before, and of a mixture of experts all count.

    Args:
        length: tokens.
        layers: as for `capture`; of those that its configuration names.

    Raises:
        UsageError: a length or layers that there are not.
    """
    length = check_whole("length", length, 1, None)
    chosen = chosen_layers(described.layers, layers)
    device = usable_device(device)
    kept, peak = _bytes_needed(described, Variant(), length, chosen, torch.float32, True)
    shape, tried = described.layers[chosen[-1]], min(described.width, PROBE_WIDTH)
    matrix = torch.randn(tried, tried, generator=torch.Generator().manual_seed(0)).to(device)

    def run(text: Tensor) -> None:
        torch.mm(matrix.new_ones(text.shape[1], tried), matrix)

    rates = probe(shape, Variant().computes, length, device, run)
    passed = length * described.layer_parameters * (chosen[-1] + 1) / described.layer_count
    seconds = (passed + LOADING_TOKENS * described.parameters) * rates.token / tried**2
    seconds += score_cost(described.layers, length, chosen, 0) * rates.score
    scores = seen_scores(_heads(described.layers, chosen), length, length)
    seconds += scores * _statistics_rate(shape, Variant().computes, length, device)
    weights = described.weight_bytes
    return Forecast(peak + weights, kept + weights, seconds, available_bytes(device))


def score_cost(
    layers: Mapping[int, LayerShape],
    length: int,
    chosen: Sequence[int],
    statistics: float,
    window: int | None = None,
) -> float:
    """Scores of the pass (the last layer's are not needed) and of the statistics, weighted."""
    passed = sum(shape.heads for layer, shape in layers.items() if layer < chosen[-1])
    looked_into = statistics * seen_scores(_heads(layers, chosen), length, length, window)
    return seen_scores(passed, length, length, window) + looked_into


def _heads(layers: Mapping[int, LayerShape], chosen: Sequence[int]) -> int:
    return sum(layers[layer].heads for layer in chosen)


def _bytes_needed(
    model: LanguageModel | Described,
    variant: Variant,
    length: int,
    chosen: Sequence[int],
    dtype: torch.dtype,
    with_statistics: bool,
) -> tuple[int, int]:
    """What is kept, and the peak with temporaries."""
    kept = 0
    for shape in (model.layers[layer] for layer in chosen):
        vectors = (shape.heads + shape.kv_heads) * shape.head_dim * dtype.itemsize
        if isinstance(variant.computes, OwnFunctionName):  # weights and the identity, also float32
            vectors = (shape.heads + 1) * length * (dtype.itemsize + 4)
        rows = len(fields(RowStatistics)) * shape.heads * 4 if with_statistics else 0
        kept += length * (vectors + rows)
    return kept, kept + model.pass_bytes(length)


def _seconds(
    model: LanguageModel,
    length: int,
    chosen: Sequence[int],
    device: torch.device,
    with_statistics: bool,
) -> float:
    """From the time of a small attention, its statistics, and a short text."""
    computed, model = model.variant.computes, model.on(device, torch.float32)
    shape = model.layers[chosen[-1]]

    def run(text: Tensor) -> None:
        model.run(text, lambda *_: None, lambda _: None)

    rates = probe(shape, computed, length, device, run)
    seconds = length * rates.token + score_cost(model.layers, length, chosen, 0) * rates.score
    if with_statistics:
        scores = seen_scores(_heads(model.layers, chosen), length, length)
        seconds += scores * _statistics_rate(shape, computed, length, device)
    return seconds


def _statistics_rate(
    shape: LayerShape, computed: Computed, length: int, device: torch.device
) -> float:
    """Seconds of a score in the statistics of a layer, from some milliseconds of them."""
    rows = min(PROBE_ROWS, length)
    keys = rows if isinstance(computed, OwnFunctionName) else min(PROBE_KEYS, length)
    query, key = probe_call(shape, rows, keys, device)
    weighed = own_function.weighed_by(computed)
    problem = check(query, key, None, weighed, is_causal=True, enable_gqa=True)
    with torch.no_grad(), without_autocast():
        taken = fastest(device, lambda: choice.row_statistics(problem, query, key))
    return taken / visible_scores(problem)


def refuse_without_memory(
    model: LanguageModel,
    variant: Variant,
    device: torch.device,
    length: int,
    chosen: Sequence[int],
    dtype: torch.dtype,
    with_statistics: bool,
) -> None:
    """Raises UsageError, with the numbers, where a capture does not fit in memory."""
    check_memory(
        f"capturing {length:,} tokens in {len(chosen)} layers",
        _bytes_needed(model, variant, length, chosen, dtype, with_statistics)[1],
        device,
        lambda _: "take fewer tokens or layers, or dtype bfloat16",
    )


def check_model(model: object) -> None:
    """Whether it is a model that can be looked into.

    Raises:
        UsageError: it is no model.
        ContentError: its layers cannot be looked into.
    """
    if not isinstance(model, LanguageModel):
        raise UsageError(
            f"checkpoint is {described(model)}; it must be a model, as load_checkpoint or "
            "load_causal_model gives it"
        )
    if model.maps_refused is not None:
        raise ContentError(model.maps_refused)


def check_type(dtype: torch.dtype) -> None:
    if dtype not in KEPT_TYPES:
        raise UsageError(f"dtype is {dtype}; it can be float32 or bfloat16")


def chosen_layers(known: Mapping[int, LayerShape], layers: Sequence[int] | None) -> list[int]:
    """The layers asked for, ascending; all that are known by default.

    Raises:
        UsageError: none, or one that the model does not have or that has no attention.
    """
    last = max(known)
    if isinstance(layers, Sequence) and not layers:
        raise UsageError(f"no layer given; name some from 0 to {last}")
    given = sorted(known) if layers is None else check_list("layers", layers, f"[0, {last}]")
    chosen = sorted({check_whole("layer", layer, 0, last) for layer in given})
    for layer in chosen:
        if layer not in known:
            raise UsageError(
                f"layer {layer} has no attention; those that have are "
                f"{', '.join(map(str, sorted(known)))}"
            )
    if len({known[layer].heads for layer in chosen}) > 1:
        raise UsageError(
            f"layers {', '.join(map(str, chosen))} differ in how many heads they have; take those "
            "that have as many"
        )
    return chosen
