"""One forward pass that keeps queries, keys and row statistics, at any length.

What a head does with a text is decided by its queries and keys, and those take memory linear in
the length: 250 MB for all 15 heads of a shipped model at 32k tokens. Everything else in
`freeatten_core.analysis` is computed from them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from freeatten_core.basics.checks import check_whole
from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.precision import without_autocast
from freeatten_core.basics.progress import Advance, Meter, ignore
from freeatten_core.data.tokenizer import token_texts, tokenizer_id
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import on_device
from freeatten_core.models.interface import Reading
from freeatten_core.models.modifiers import window_of
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import NO_TERMS, ScoreTerms, check
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Computed, OwnFunctionName, Stages
from freeatten_core.variants.variant import Variant

from .forecast import (
    bytes_needed,
    check_checkpoint,
    check_type,
    chosen_layers,
    refuse_without_memory,
    score_cost,
    seen_scores,
)

__all__ = ["Capture", "LayerCapture", "capture"]

STATISTICS_COST = 2.0
"""A score costs this much more in the statistics than in the forward pass: for progress only."""
NOT_CAPTURED = ("rerope", "align")
"""Modifiers that weights recomputed from query and key alone would not have."""
CHUNK_SCORES = 1 << 25
"""Scores computed between two calls of `advance`: about 50 ms on two cores."""


@dataclass(frozen=True)
class LayerCapture:
    """One layer, on the device it was captured on."""

    query: Tensor
    """(H, L, D), after the rotation, in the type asked for; what stands for it (see
    `own_function.as_scores`) where the model computes one's own function."""
    key: Tensor
    """(Hkv, L, D); H / Hkv consecutive query heads share one."""
    rows: RowStatistics | None
    """(H, L) float32 each, of query and key as kept; None when not asked for."""
    terms: ScoreTerms = NO_TERMS
    """What the layer's scores were given, a row a head; its decay is (1, H, L)."""
    window: int | None = None
    """A row sees at most this many keys, its own included."""

    @property
    def options(self) -> dict[str, Any]:
        """What `attention_weights` and `row_statistics` are told beside query and key."""
        return {"enable_gqa": True, "window": self.window, **self.terms._asdict()}

    def visible_count(self, start: int, stop: int) -> Tensor:
        """How many keys each of the rows start…stop sees, (stop − start,) int64, on the CPU."""
        return torch.arange(start + 1, stop + 1).clamp(max=self.window or stop)


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
    def weighed_by(self) -> Stages:
        """The stages whose weights for the kept queries and keys are the model's."""
        return own_function.weighed_by(self.variant.computes)

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
        """The text of every token start…stop, as `data.tokenizer.token_texts` tells it."""
        return token_texts(self.tokenizer, self.tokens.cpu().numpy(), start, stop)


class _EnoughError(Exception):
    """The last layer wanted has been seen; the rest of the pass is not needed."""


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
    check_checkpoint(checkpoint)
    config, device = checkpoint.config, usable_device(device)
    tokens = _check_tokens(tokens, config)
    chosen = chosen_layers(config, layers)
    variant = _check_variant(checkpoint, variant)
    check_type(dtype)
    length = len(tokens)
    _, peak = bytes_needed(config, variant, length, len(chosen), dtype, with_statistics)
    refuse_without_memory(peak, device, length, len(chosen))

    began = time.perf_counter()
    window = window_of(variant, config.train_length)
    statistics = STATISTICS_COST if with_statistics else 0
    meter = Meter(score_cost(config, length, chosen, statistics, window), advance)
    keeper = _Keeper(chosen, dtype, with_statistics, meter)
    model = _reporting(on_device(checkpoint.model, device), meter).with_modifiers(variant, length)
    with without_autocast(), suppress(_EnoughError):
        model.hidden(tokens.to(device)[None], observe=keeper.observe)
    meter.finish()
    return Capture(
        name=checkpoint.name,
        variant=variant,
        train_length=config.train_length,
        tokens=tokens,
        tokenizer=checkpoint.tokenizer,
        tokenizer_id=tokenizer_id(checkpoint.tokenizer),
        layers=keeper.kept,
        seconds=time.perf_counter() - began,
    )


def _reporting(model: Model, meter: Meter) -> Model:
    """The model with its attention cut in parts between which progress is reported."""
    if model.attend is not grouped_attention:
        return model
    model = copy.copy(model)
    model.attend = partial(_attend_in_parts, meter)
    return model


class _Keeper:
    """Keeps what is wanted of every layer that a pass shows, and ends the pass after the last."""

    def __init__(
        self,
        layers: Sequence[int],
        dtype: torch.dtype,
        with_statistics: bool,
        meter: Meter,
    ) -> None:
        self.layers, self.dtype = layers, dtype
        self.with_statistics, self.meter = with_statistics, meter
        self.kept: dict[int, LayerCapture] = {}

    def observe(self, layer: int, query: Tensor, key: Tensor, reading: Reading) -> None:
        """query (1, H, L, D), key (1, Hkv, L, D), as the scores see them."""
        if layer in self.layers:
            self.kept[layer] = self._capture(query, key, reading)
        if layer == self.layers[-1]:
            raise _EnoughError

    def _capture(self, query: Tensor, key: Tensor, reading: Reading) -> LayerCapture:
        if isinstance(reading.computed, OwnFunctionName):
            query, key = own_function.as_scores(query, key, reading.computed)
            key = key[:, :1]
        query, key = query.to(self.dtype, copy=True), key.to(self.dtype, copy=True)
        kept = LayerCapture(query[0], key[0], None, reading.terms, reading.window)
        if not self.with_statistics:
            return kept
        return replace(kept, rows=_statistics(kept, reading.computed, self.meter))


def _statistics(kept: LayerCapture, computed: Computed, meter: Meter) -> RowStatistics:
    """Those of a layer's queries and keys as kept, (H, L) each."""
    query, key = kept.query[None].float(), kept.key[None].float()
    problem = check(
        query,
        key,
        None,
        own_function.weighed_by(computed),
        is_causal=True,
        enable_gqa=True,
        terms=kept.terms,
        window=kept.window,
    )
    rows = choice.row_statistics(
        problem,
        query,
        key,
        kept.terms,
        advance=lambda scores: meter.add(scores * STATISTICS_COST),
    )
    return rows.map(lambda tensor: tensor[0])


def _attend_in_parts(
    meter: Meter,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    computed: Computed,
    /,
    *,
    window: int | None = None,
    terms: ScoreTerms = NO_TERMS,
    **others: Any,
) -> Tensor:
    """Attention by blocks of queries, each against the keys it sees, to report progress."""
    heads, length = query.shape[1:3]
    rows = max(128, CHUNK_SCORES // (heads * length))
    if isinstance(computed, OwnFunctionName):
        rows = length  # it takes whole texts alone
    output = query.new_empty(*query.shape[:3], value.shape[-1])
    for start in range(0, length, rows):
        stop = min(length, start + rows)
        output[:, :, start:stop] = grouped_attention(
            query[:, :, start:stop],
            key[:, :, :stop],
            value[:, :, :stop],
            computed,
            window=window,
            terms=terms.of_keys(0, stop),
            **others,
        )
        meter.add(seen_scores(heads, stop - start, stop, window))
    return output


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
    trained_with = checkpoint.config.variant
    variant = None if variant is None else Variant.parse(variant)
    if variant is not None and variant.trained != trained_with.trained:
        raise UsageError(
            f"variant is {variant}; checkpoint {checkpoint.name} computes {trained_with.trained}: "
            "only modifiers such as +yarn can be added to it"
        )
    if variant is None:
        return trained_with
    for name in NOT_CAPTURED:
        if variant.modifier(name) is not None:
            raise UsageError(
                f"variant is {variant}: maps and statistics do not show +{name}; freeatten "
                "compare and freeatten retrieve measure it"
            )
    return variant
