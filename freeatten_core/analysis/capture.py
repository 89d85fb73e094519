"""One forward pass that keeps queries, keys and row statistics, at any length.

What a head does with a text is decided by its queries and keys, and those take memory linear in
the length: 250 MB for all 15 heads of a shipped model at 32k tokens. Everything else in
`freeatten_core.analysis` is computed from them.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .. import own
from ..arguments import check_list, check_whole, described
from ..attention import attention, check
from ..checkpoint import Checkpoint
from ..devices import usable_device
from ..errors import UsageError
from ..kernels.precision import without_autocast
from ..kernels.problem import Problem
from ..kernels.statistics import RowStatistics, statistics
from ..model import Model, ModelConfig, grouped_attention
from ..tokens import tokenizer_id
from ..variants import Variant

Advance = Callable[[float, float], None]
"""Called with (cost done, cost in all); an exception raised in it cancels the work."""

KEPT_TYPES = (torch.float32, torch.bfloat16)
STATISTICS_COST = 2.0
"""A score costs this much more in the statistics than in the forward pass: for progress only."""
NOT_CAPTURED = ("window", "rerope", "align")
"""Modifiers that weights recomputed from query and key alone would not have."""
CHUNK_SCORES = 1 << 25
"""Scores computed between two calls of `advance`: about 50 ms on two cores."""
PROBE_ROWS, PROBE_KEYS = 256, 2048
"""Size of the call that is timed for a forecast."""


def ignore(done: float, whole: float) -> None:
    """No progress wanted."""


class Meter:
    """Counts cost towards a whole and reports it."""

    def __init__(self, whole: float, advance: Advance) -> None:
        self.whole, self.done, self._advance = whole, 0.0, advance

    def add(self, cost: float) -> None:
        self.done = min(self.whole, self.done + cost)
        self._advance(self.done, self.whole)

    def finish(self) -> None:
        self.add(self.whole)


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


@dataclass(frozen=True)
class LayerCapture:
    """One layer, on the device it was captured on."""

    query: Tensor
    """(H, L, D), after the rotation, in the type asked for; what stands for it (see
    `own.as_scores`) where the model computes one's own function."""
    key: Tensor
    """(Hkv, L, D); H / Hkv consecutive query heads share one."""
    rows: RowStatistics | None
    """(H, L) float32 each, of query and key as kept; None when not asked for."""


@dataclass(frozen=True)
class Capture:
    """What one pass over one text left."""

    name: str
    """The checkpoint's."""
    variant: Variant
    """With its modifiers."""
    train_length: int
    tokens: Tensor
    """(L,) int64, on the CPU."""
    tokenizer: Tokenizer
    tokenizer_id: str
    """The same for tokenizers that cut every text alike."""
    layers: Mapping[int, LayerCapture]
    """By layer number, ascending."""
    seconds: float
    """What it took."""

    @property
    def weighed_by(self) -> Variant:
        """The variant whose weights for the kept queries and keys are the model's."""
        return own.weighed_by(self.variant)

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def heads(self) -> int:
        return len(next(iter(self.layers.values())).query)

    def layer(self, layer: int) -> LayerCapture:
        """One layer.

        Raises:
            UsageError: it was not captured; the message lists those that were.
        """
        listed = ", ".join(map(str, self.layers))
        try:
            number = check_whole("layer", layer, 0, None)
        except UsageError:
            number = -1
        if number not in self.layers:
            raise UsageError(f"layer is {layer!r}; captured are {listed}")
        return self.layers[number]

    def head(self, layer: int, head: int) -> tuple[Tensor, Tensor]:
        """Query and key of one head, (L, D) float32 each.

        Raises:
            UsageError: a layer that was not captured or a head that does not exist.
        """
        found = self.layer(layer)
        head = check_whole("head", head, 0, self.heads - 1)
        shared = self.heads // len(found.key)
        return found.query[head].float(), found.key[head // shared].float()

    def statistics(self, layer: int) -> RowStatistics:
        """Row statistics of a layer, (H, L) each.

        Raises:
            UsageError: the layer, or statistics, were not captured.
        """
        rows = self.layer(layer).rows
        if rows is None:
            raise UsageError("row statistics were not captured; capture with_statistics=True")
        return rows

    def labels(self, start: int, stop: int) -> list[str]:
        """The text of every token start…stop; part of a character shows as �."""
        return [self.tokenizer.decode([token]) for token in self.tokens[start:stop].tolist()]


class _EnoughError(Exception):
    """The last layer wanted has been seen; the rest of the pass is not needed."""


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
    _check_checkpoint(checkpoint)
    length = check_whole("length", length, 1, None)
    chosen = _chosen_layers(checkpoint.config, layers)
    _check_type(dtype)
    device = usable_device(device)
    kept, peak = _bytes(
        checkpoint.config, checkpoint.config.variant, length, len(chosen), dtype, with_statistics
    )
    seconds = _seconds(checkpoint, length, chosen, device, with_statistics)
    return Forecast(peak, kept, seconds, available_bytes(device))


@torch.no_grad()
def capture(
    checkpoint: Checkpoint,
    tokens: Tensor,
    *,
    variant: Variant | str | None = None,
    layers: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    with_statistics: bool = True,
    advance: Advance = ignore,
) -> Capture:
    """Run the model once over a text and keep queries, keys and row statistics.

    The pass is in float32 under any autocast and stops after the last layer wanted. Statistics are
    of query and key as kept, so that with bfloat16 they agree with weights recomputed later.

    Args:
        checkpoint: a trained model.
        tokens: (L,), ids of the checkpoint's tokenizer.
        variant: the checkpoint's own with modifiers, such as `softmax+yarn`, which is then set
            for a text of L tokens; None for the checkpoint's own.
        layers: their numbers from 0; None for all.
        device: where to compute and to keep; the checkpoint's model is copied when elsewhere.
        dtype: float32 or bfloat16 of what is kept.
        with_statistics: whether row statistics are wanted; they take two thirds of the time.
        advance: progress; an exception raised in it cancels.

    Raises:
        UsageError: tokens, layers, type or variant that do not fit; or not enough memory, with
            the numbers.
    """
    _check_checkpoint(checkpoint)
    config, device = checkpoint.config, usable_device(device)
    tokens = _check_tokens(tokens, config)
    chosen = _chosen_layers(config, layers)
    variant = _check_variant(checkpoint, variant)
    _check_type(dtype)
    length = len(tokens)
    _, peak = _bytes(config, variant, length, len(chosen), dtype, with_statistics)
    _refuse_without_memory(peak, device, length, len(chosen))

    began = time.perf_counter()
    whole = _scores(config, length, chosen, STATISTICS_COST if with_statistics else 0)
    meter = Meter(whole, advance)
    kept: dict[int, LayerCapture] = {}

    def observe(layer: int, query: Tensor, key: Tensor) -> None:
        if layer in chosen:
            if variant.attention.function is not None:
                query, key = own.as_scores(query, key, variant.attention)
                key = key[:, :1]
            query, key = query.to(dtype, copy=True), key.to(dtype, copy=True)
            rows = None
            if with_statistics:
                rows = _statistics(query.float(), key.float(), own.weighed_by(variant), meter)
            kept[layer] = LayerCapture(query[0], key[0], rows)
        if layer == chosen[-1]:
            raise _EnoughError

    def attend(query: Tensor, key: Tensor, value: Tensor, variant: Variant) -> Tensor:
        return _attend_in_parts(query, key, value, variant, meter)

    model = _on_device(checkpoint.model, device).with_modifiers(variant, length)
    if model.attend is grouped_attention:
        model.attend = attend
    with without_autocast(), suppress(_EnoughError):
        model.hidden(tokens.to(device)[None], observe=observe)
    meter.finish()
    return Capture(
        name=checkpoint.name,
        variant=variant,
        train_length=config.train_length,
        tokens=tokens,
        tokenizer=checkpoint.tokenizer,
        tokenizer_id=tokenizer_id(checkpoint.tokenizer),
        layers=kept,
        seconds=time.perf_counter() - began,
    )


def visible_scores(problem: Problem) -> int:
    """How many (query, key) pairs a call has, hidden ones left out."""
    rows, keys = problem.query_length, problem.key_length
    if not problem.is_causal:
        pairs = rows * keys
    else:
        last = min(rows, keys)  # rows that see a key see keys − last + 1 … keys of them
        pairs = last * (2 * keys - last + 1) // 2
    return problem.batch * problem.heads * pairs


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device, within the process' cgroup; None when not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    free = [_meminfo(), _cgroup("memory.max", "memory.current")]
    known = [number for number in free if number is not None]
    return min(known) if known else _physical()


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _cgroup(limit: str, used: str) -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        text = (root / limit).read_text(encoding="utf-8").strip()
        return (
            None
            if text == "max"
            else max(0, int(text) - int((root / used).read_text(encoding="utf-8")))
        )
    except (OSError, ValueError):
        return None


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _statistics(query: Tensor, key: Tensor, variant: Variant, meter: Meter) -> RowStatistics:
    """(H, L) each, of query (1, H, L, D) and key (1, Hkv, L, D)."""
    problem = check(query, key, None, variant, is_causal=True, enable_gqa=True)
    rows = statistics(problem, query, key, lambda scores: meter.add(scores * STATISTICS_COST))
    return rows.map(lambda tensor: tensor[0])


def _attend_in_parts(
    query: Tensor, key: Tensor, value: Tensor, variant: Variant, meter: Meter
) -> Tensor:
    """Attention by blocks of queries, each against the keys it sees, to report progress."""
    heads, length = query.shape[1:3]
    rows = max(128, CHUNK_SCORES // (heads * length))
    if variant.function is not None:
        rows = length  # it takes whole texts alone
    output = query.new_empty(*query.shape[:3], value.shape[-1])
    for start in range(0, length, rows):
        stop = min(length, start + rows)
        output[:, :, start:stop] = attention(
            query[:, :, start:stop],
            key[:, :, :stop],
            value[:, :, :stop],
            variant,
            enable_gqa=True,
        )
        meter.add(heads * (stop - start) * (start + stop) / 2)
    return output


def _scores(config: ModelConfig, length: int, chosen: Sequence[int], statistics: float) -> float:
    """Scores of the pass (the last layer's are not needed) and of the statistics, weighted."""
    layer = config.heads * length * (length + 1) / 2
    return layer * (chosen[-1] + statistics * len(chosen))


def _bytes(
    config: ModelConfig,
    variant: Variant,
    length: int,
    layers: int,
    dtype: torch.dtype,
    with_statistics: bool,
) -> tuple[int, int]:
    """What is kept, and the peak with temporaries."""
    vectors = (config.heads + config.kv_heads) * config.head_dim * dtype.itemsize
    if variant.attention.function is not None:  # weights and the identity, also in float32
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
        model = _on_device(checkpoint.model, device)
    else:
        model = checkpoint.model
    variant = config.variant.attention
    rows, keys = min(PROBE_ROWS, length), min(PROBE_KEYS, length)
    if variant.function is not None:
        keys = rows  # it takes whole texts alone
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, config.heads, rows, config.head_dim, generator=draw).to(device)
    key = torch.randn(1, config.kv_heads, keys, config.head_dim, generator=draw).to(device)
    problem = check(query, key, None, own.weighed_by(variant), is_causal=True, enable_gqa=True)
    probed = visible_scores(problem)
    with torch.no_grad(), without_autocast():
        one_score = _timed(device, lambda: grouped_attention(query, key, key, variant)) / probed
        text = torch.zeros(1, rows, dtype=torch.long, device=device)
        one_token = _timed(device, lambda: model.hidden(text)) / rows
        seconds = length * one_token + _scores(config, length, chosen, 0) * one_score
        if with_statistics:
            one_score = _timed(device, lambda: statistics(problem, query, key)) / probed
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


def _on_device(model: Model, device: torch.device) -> Model:
    here = next(model.parameters()).device
    if here.type == device.type and device.index in (None, here.index):
        return model
    return copy.deepcopy(model).to(device)


def _refuse_without_memory(needed: int, device: torch.device, length: int, layers: int) -> None:
    available = available_bytes(device)
    if available is not None and needed > available:
        raise UsageError(
            f"capturing {length:,} tokens in {layers} layers needs {needed / 1e9:.1f} GB, "
            f"{available / 1e9:.1f} GB available on {device}; take fewer tokens or layers, "
            "or dtype bfloat16"
        )


def _check_checkpoint(checkpoint: Checkpoint) -> None:
    if not isinstance(checkpoint, Checkpoint):
        raise UsageError(
            f"checkpoint is {described(checkpoint)}; it must be a Checkpoint, as load_checkpoint "
            "gives it"
        )


def _check_tokens(tokens: Tensor, config: ModelConfig) -> Tensor:
    if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
        kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise UsageError(f"tokens is {kind}; it must be a tensor of token ids")
    if tokens.ndim != 1 or not len(tokens):
        raise UsageError(
            f"tokens has shape {tuple(tokens.shape)}; it must be (length,), at least 1 token"
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.vocab_size:
        raise UsageError(
            f"token ids are {low} to {high}; they must be from 0 to {config.vocab_size - 1}: "
            "cut the text with the checkpoint's own tokenizer"
        )
    return tokens.detach().to("cpu", torch.int64, copy=True)


def _check_variant(checkpoint: Checkpoint, variant: Variant | str | None) -> Variant:
    own = checkpoint.config.variant
    variant = None if variant is None else Variant.parse(variant)
    if variant is not None and variant.trained != own.trained:
        raise UsageError(
            f"variant is {variant}; checkpoint {checkpoint.name} computes {own.trained}: "
            "only modifiers such as +yarn can be added to it"
        )
    if variant is None:
        return own
    for name in NOT_CAPTURED:
        if variant.modifier(name) is not None:
            raise UsageError(
                f"variant is {variant}: maps and statistics do not show +{name}; freeatten "
                "compare and freeatten retrieve measure it"
            )
    return variant


def _check_type(dtype: torch.dtype) -> None:
    if dtype not in KEPT_TYPES:
        raise UsageError(f"dtype is {dtype}; it can be float32 or bfloat16")


def _chosen_layers(config: ModelConfig, layers: Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(config.layers))
    if isinstance(layers, Sequence) and not layers:
        raise UsageError(f"no layer given; name some from 0 to {config.layers - 1}")
    given = check_list("layers", layers, f"[0, {config.layers - 1}]")
    return sorted({check_whole("layer", layer, 0, config.layers - 1) for layer in given})
