"""What a model will take, before it runs: memory by arithmetic, time from a probe.

One definition for all that runs a model: capturing, comparing, training. Measured on two cores as
the growth of a process (see `tests/core/models/test_forecast.py`): passes and training steps took
0.70 to 1.05 times the bytes foreseen, in models of 1 to 5 layers, widths of 64 to 192 and
vocabularies of 512 to 16,384. On a GPU the same arithmetic is not measured.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.memory import available_bytes
from freeatten_core.basics.precision import without_autocast
from freeatten_core.ops.call import Problem, check, visible_scores
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.positions.clex import WIDENING
from freeatten_core.variants.stages import Computed, OwnFunctionName, Stages
from freeatten_core.variants.variant import Variant

from .config import LayerShape, ModelConfig
from .decoder import LOSS_TOKENS, Model
from .learned_scale import scale_numbers

__all__ = [
    "CONSTANT_BYTES",
    "COPIES",
    "PROBE_KEYS",
    "PROBE_ROWS",
    "Forecast",
    "Rates",
    "check_memory",
    "fastest",
    "hidden_bytes",
    "on_device",
    "parameter_count",
    "probe",
    "probe_call",
    "scoring_bytes",
    "seen_scores",
    "training_bytes",
]

PROBE_ROWS, PROBE_KEYS = 256, 2048
"""Size of the call that is timed for a forecast."""
CONSTANT_BYTES = 50_000_000
"""Panels, and what a process grows by itself."""
COPIES = 2
"""Of a model on the device while it is scored: its own, and one with a window."""
OWN_MATRICES = 4
"""Matrices of N² that a function of one's own is taken to have alive; nobody can know."""


@dataclass(frozen=True)
class Forecast:
    """What some work would take."""

    bytes: int
    """At its peak: what is kept and the largest temporaries."""
    kept_bytes: int
    """What stays until the work is done: of a capture queries, keys and statistics."""
    seconds: float | None
    """From a probe on this machine, as busy as it is now; None where a probe says nothing."""
    available: int | None
    """Free bytes on the device; None when the system does not say."""

    @property
    def fits(self) -> bool:
        return self.available is None or self.bytes <= self.available


def check_memory(
    work: str, needed: int, device: torch.device, remedy: Callable[[int], str]
) -> None:
    """Whether some work fits in memory.

    Args:
        work: what needs it.
        needed: bytes.
        remedy: from the free bytes to what would fit, or help.

    Raises:
        UsageError: it does not; with the numbers.
    """
    available = available_bytes(device)
    if available is not None and needed > available:
        raise UsageError(
            f"{work} needs {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB available on {device}; "
            f"{remedy(available)}"
        )


# Bytes


def seen_scores(heads: int, rows: int, keys: int, window: int | None = None) -> int:
    """How many scores the last `rows` rows of a text of so many keys have, over all heads."""
    return visible_scores(Problem(Stages(), 1, heads, heads, rows, keys, 1, True, window))


def parameter_count(config: ModelConfig) -> int:
    """Numbers in a model's weights."""
    width, kv_width = config.width, config.kv_heads * config.head_dim
    layer = 2 * width * (width + kv_width) + 3 * width * config.mlp_width + 2 * width
    setting = config.variant.setting
    layer += 0 if setting.gate is None else (width + 1) * config.score_heads
    layer += 0 if setting.output is None else width * width
    layer += 0 if setting.sink is None else config.score_heads
    layer += 0 if setting.heads is None else width * (width + config.heads)
    layer += 0 if setting.dilate is None else config.score_heads * setting.dilate.keys
    learned = WIDENING * config.head_dim**2 if "clex" in setting.position.kinds else 0
    learned += kv_width * sum(each.doubles for each in config.positions)
    if setting.scale is not None:
        learned += sum(scale_numbers(setting.scale, width, each.kinds) for each in config.positions)
    return config.vocab_size * width + config.layers * layer + learned + width


def hidden_bytes(config: ModelConfig, tokens: int, length: int) -> int:
    """Temporaries of a forward pass to the hidden states, in float32, without attention's own.

    Args:
        tokens: in the pass.
        length: of each of its windows.
    """
    # hidden, normed, query, key, value, their unit or rotated copies, output, joined output; or
    # the MLP's four. Panels and the process' own growth are constant.
    vectors = (12 + _doubled(config)) * config.width
    widest = max(vectors, 3 * config.width + 4 * config.mlp_width)
    angles = 4 * 8 * config.head_dim
    return tokens * 4 * widest + length * angles + CONSTANT_BYTES


def _doubled(config: ModelConfig) -> int:
    """Widths more of a layer whose queries and keys are doubled: they and how much they say; and of
    one with twice the queries: they, their rotations and outputs."""
    both = 6 if any(each.doubles for each in config.positions) else 0
    return both + (0 if config.variant.setting.heads is None else 4)


def scoring_bytes(
    config: ModelConfig, variant: Variant, tokens: int, length: int, itemsize: int = 4
) -> int:
    """Peak of a pass that scores every token, without the weights.

    Args:
        variant: what is computed, with its modifiers.
        tokens, length: as for `hidden_bytes`.
        itemsize: bytes of a weight.
    """
    # logits and their logarithms, in float32; below it the logits in their own type too
    return (
        hidden_bytes(config, tokens, length)
        + _logit_bytes(config, tokens, 2 if itemsize == 4 else 3)
        + _own_bytes(variant, tokens // length, length)
    )


def training_bytes(config: ModelConfig, batch: int, *, compiled: bool) -> tuple[int, int]:
    """Weights with their gradients and moments, which stay, and the peak of a training step.

    Args:
        batch: windows of the training length in a step.
        compiled: with the activations and logits in bfloat16, as on a GPU.
    """
    kept = 4 * 4 * parameter_count(config)
    length, tokens = config.train_length, batch * config.train_length
    # of every layer normed (twice), hidden (twice), query, key and their rotations, value, output,
    # joined output; the MLP's four. Of the layer whose gradient is taken, as much as that again.
    layer = (10 + _doubled(config)) * config.width + 4 * config.mlp_width
    temporary = (8 + _doubled(config)) * config.width + 4 * config.mlp_width
    passes = len(config.passes(length))
    numbers = passes * layer + temporary
    own = _own_bytes(config.variant, batch * config.score_heads * passes, length)
    if compiled:
        activations = tokens * (2 * numbers + 6 * config.vocab_size)
        return kept, kept + activations + own + CONSTANT_BYTES
    activations = tokens * 4 * (numbers + config.vocab_size)
    # a slice's logits, their logarithms and the gradient
    logits = _logit_bytes(config, tokens, 3)
    return kept, kept + activations + logits + own + CONSTANT_BYTES


def _logit_bytes(config: ModelConfig, tokens: int, copies: int) -> int:
    """So many numbers for every logit of a slice, float32."""
    return copies * 4 * min(tokens, LOSS_TOKENS) * config.vocab_size


def _own_bytes(variant: Variant, windows: int, length: int) -> int:
    """Matrices of a function of one's own, of so many windows or heads at once."""
    if not isinstance(variant.computes, OwnFunctionName):
        return 0
    return OWN_MATRICES * 4 * windows * length * length


# Seconds


@dataclass(frozen=True)
class Rates:
    """Seconds that a model needs here, as busy as the machine is now."""

    token: float
    """In all layers, with attention to a few keys."""
    score: float
    """One head's in one layer."""

    def of_pass(self, tokens: int, scores: int) -> float:
        """So many tokens through all layers, with so many scores."""
        return tokens * self.token + scores * self.score


def probe(
    shape: LayerShape,
    computed: Computed,
    length: int,
    device: torch.device,
    run: Callable[[Tensor], object],
) -> Rates:
    """Time a small attention and a short text, some milliseconds each.

    Args:
        shape: of a layer.
        computed: what is timed.
        length: tokens of the texts to come; no longer a one is tried.
        run: what a text (1, N) goes through, on `device`.
    """
    rows, keys = min(PROBE_ROWS, length), min(PROBE_KEYS, length)
    if isinstance(computed, OwnFunctionName):
        keys = rows  # it takes whole texts alone
    query, key = probe_call(shape, rows, keys, device)
    weighed = own_function.weighed_by(computed)
    probed = visible_scores(check(query, key, None, weighed, is_causal=True, enable_gqa=True))
    text = torch.zeros(1, rows, dtype=torch.long, device=device)
    with torch.no_grad(), without_autocast():
        attended = fastest(device, lambda: grouped_attention(query, key, key, computed))
        return Rates(fastest(device, lambda: run(text)) / rows, attended / probed)


def probe_call(
    shape: LayerShape, rows: int, keys: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Queries (1, H, rows, D) and keys (1, Hkv, keys, D) of a layer's shape."""
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, shape.heads, rows, shape.head_dim, generator=draw)
    key = torch.randn(1, shape.kv_heads, keys, shape.head_dim, generator=draw)
    return query.to(device), key.to(device)


def fastest(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of the best of three, after one to warm up."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def on_device(model: Model, device: torch.device) -> Model:
    """A model on a device: itself where it is there, else a copy."""
    here = next(model.parameters()).device
    if here.type == device.type and device.index in (None, here.index):
        return model
    return copy.deepcopy(model).to(device)
