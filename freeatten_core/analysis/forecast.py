"""What a capture will take, before it is made: memory and time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch

from freeatten_core.basics.checks import check_list, check_whole, described
from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.memory import available_bytes
from freeatten_core.basics.precision import without_autocast
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import check, visible_scores
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

KEPT_TYPES = (torch.float32, torch.bfloat16)

PROBE_ROWS, PROBE_KEYS = 256, 2048
"""Size of the call that is timed for a forecast."""


@dataclass(frozen=True)
class Forecast:
    """What a capture would take."""

    bytes: int
    """At its peak: what is kept and the largest temporaries."""
    kept_bytes: int
    """Queries, keys and statistics, which stay."""
    seconds: float
    """From a probe of a few milliseconds on this machine, as busy as it is now."""
    available: int | None
    """Free bytes on the device; None when the system does not say."""

    @property
    def fits(self) -> bool:
        return self.available is None or self.bytes <= self.available


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


def score_cost(config: ModelConfig, length: int, chosen: Sequence[int], statistics: float) -> float:
    """Scores of the pass (the last layer's are not needed) and of the statistics, weighted."""
    layer = config.heads * length * (length + 1) / 2
    return layer * (chosen[-1] + statistics * len(chosen))


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
    # hidden, normed, query, key, value, their unit or rotated copies, output, joined output; or
    # the MLP's four. Panels and the process' own growth are constant.
    widest = max(12 * config.width, 3 * config.width + 4 * config.mlp_width)
    angles = 4 * 8 * config.head_dim
    return kept, kept + length * (4 * widest + angles) + 50_000_000


def _seconds(
    checkpoint: Checkpoint,
    length: int,
    chosen: Sequence[int],
    device: torch.device,
    with_statistics: bool,
) -> float:
    """From the time of a small attention, its statistics, and a short text."""
    config = checkpoint.config
    if device != next(checkpoint.model.parameters()).device:
        model = on_device(checkpoint.model, device)
    else:
        model = checkpoint.model
    computed = config.variant.computes
    rows, keys = min(PROBE_ROWS, length), min(PROBE_KEYS, length)
    if isinstance(computed, OwnFunctionName):
        keys = rows  # it takes whole texts alone
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, config.heads, rows, config.head_dim, generator=draw).to(device)
    key = torch.randn(1, config.kv_heads, keys, config.head_dim, generator=draw).to(device)
    problem = check(
        query, key, None, own_function.weighed_by(computed), is_causal=True, enable_gqa=True
    )
    probed = visible_scores(problem)
    with torch.no_grad(), without_autocast():
        one_score = _timed(device, lambda: grouped_attention(query, key, key, computed)) / probed
        text = torch.zeros(1, rows, dtype=torch.long, device=device)
        one_token = _timed(device, lambda: model.hidden(text)) / rows
        seconds = length * one_token + score_cost(config, length, chosen, 0) * one_score
        if with_statistics:
            one_score = _timed(device, lambda: choice.row_statistics(problem, query, key)) / probed
            seconds += len(chosen) * config.heads * length * (length + 1) / 2 * one_score
    return seconds


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """The best of three, after one to warm up."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def on_device(model: Model, device: torch.device) -> Model:
    here = next(model.parameters()).device
    if here.type == device.type and device.index in (None, here.index):
        return model
    return copy.deepcopy(model).to(device)


def refuse_without_memory(needed: int, device: torch.device, length: int, layers: int) -> None:
    available = available_bytes(device)
    if available is not None and needed > available:
        raise UsageError(
            f"capturing {length:,} tokens in {layers} layers needs {needed / 1e9:.1f} GB, "
            f"{available / 1e9:.1f} GB available on {device}; take fewer tokens or layers, "
            "or dtype bfloat16"
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
