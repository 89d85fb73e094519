"""What a capture will take, before it is made: memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch

from freeatten_core.basics.checks import check_list, check_whole, described
from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.memory import available_bytes
from freeatten_core.basics.precision import without_autocast
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.forecast import (
    PROBE_KEYS,
    PROBE_ROWS,
    Forecast,
    check_memory,
    fastest,
    hidden_bytes,
    on_device,
    probe,
    probe_call,
)
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import Problem, check, visible_scores
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import OwnFunctionName, Stages
from freeatten_core.variants.variant import Variant

__all__ = [
    "bytes_needed",
    "check_checkpoint",
    "check_type",
    "chosen_layers",
    "forecast",
    "refuse_without_memory",
    "score_cost",
    "seen_scores",
]

KEPT_TYPES = (torch.float32, torch.bfloat16)


def forecast(
    checkpoint: Checkpoint,
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
    check_checkpoint(checkpoint)
    length = check_whole("length", length, 1, None)
    chosen = chosen_layers(checkpoint.config, layers)
    check_type(dtype)
    device = usable_device(device)
    kept, peak = bytes_needed(
        checkpoint.config, checkpoint.config.variant, length, len(chosen), dtype, with_statistics
    )
    seconds = _seconds(checkpoint, length, chosen, device, with_statistics)
    return Forecast(peak, kept, seconds, available_bytes(device))


def score_cost(
    config: ModelConfig,
    length: int,
    chosen: Sequence[int],
    statistics: float,
    window: int | None = None,
) -> float:
    """Scores of the pass (the last layer's are not needed) and of the statistics, weighted."""
    layer = seen_scores(config.heads, length, length, window)
    return layer * (chosen[-1] + statistics * len(chosen))


def seen_scores(heads: int, rows: int, keys: int, window: int | None) -> int:
    """Scores of the last `rows` rows of a text of so many keys."""
    return visible_scores(Problem(Stages(), 1, heads, heads, rows, keys, 1, True, window))


def bytes_needed(
    config: ModelConfig,
    variant: Variant,
    length: int,
    layers: int,
    dtype: torch.dtype,
    with_statistics: bool,
) -> tuple[int, int]:
    """What is kept, and the peak with temporaries."""
    vectors = (config.heads + config.kv_heads) * config.head_dim * dtype.itemsize
    if isinstance(variant.computes, OwnFunctionName):  # weights and the identity, also in float32
        vectors = (config.heads + 1) * length * (dtype.itemsize + 4)
    rows = len(fields(RowStatistics)) * config.heads * 4 if with_statistics else 0
    kept = layers * length * (vectors + rows)
    return kept, kept + hidden_bytes(config, length, length)


def _seconds(
    checkpoint: Checkpoint,
    length: int,
    chosen: Sequence[int],
    device: torch.device,
    with_statistics: bool,
) -> float:
    """From the time of a small attention, its statistics, and a short text."""
    config, computed = checkpoint.config, checkpoint.config.variant.computes
    model = on_device(checkpoint.model, device)
    rates = probe(config, config.variant, length, device, model.hidden)
    seconds = length * rates.token + score_cost(config, length, chosen, 0) * rates.score
    if with_statistics:
        rows = min(PROBE_ROWS, length)
        keys = rows if isinstance(computed, OwnFunctionName) else min(PROBE_KEYS, length)
        query, key = probe_call(config, rows, keys, device)
        weighed = own_function.weighed_by(computed)
        problem = check(query, key, None, weighed, is_causal=True, enable_gqa=True)
        with torch.no_grad(), without_autocast():
            taken = fastest(device, lambda: choice.row_statistics(problem, query, key))
        scores = len(chosen) * seen_scores(config.heads, length, length, None)
        seconds += scores * taken / visible_scores(problem)
    return seconds


def refuse_without_memory(needed: int, device: torch.device, length: int, layers: int) -> None:
    check_memory(
        f"capturing {length:,} tokens in {layers} layers",
        needed,
        device,
        lambda _: "take fewer tokens or layers, or dtype bfloat16",
    )


def check_checkpoint(checkpoint: Checkpoint) -> None:
    if not isinstance(checkpoint, Checkpoint):
        raise UsageError(
            f"checkpoint is {described(checkpoint)}; it must be a Checkpoint, as load_checkpoint "
            "gives it"
        )


def check_type(dtype: torch.dtype) -> None:
    if dtype not in KEPT_TYPES:
        raise UsageError(f"dtype is {dtype}; it can be float32 or bfloat16")


def chosen_layers(config: ModelConfig, layers: Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(config.layers))
    if isinstance(layers, Sequence) and not layers:
        raise UsageError(f"no layer given; name some from 0 to {config.layers - 1}")
    given = check_list("layers", layers, f"[0, {config.layers - 1}]")
    return sorted({check_whole("layer", layer, 0, config.layers - 1) for layer in given})
