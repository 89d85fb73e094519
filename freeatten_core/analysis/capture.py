"""One forward pass that keeps queries, keys and row statistics, at any length.

What a head does with a text is decided by its queries and keys, and those take memory linear in
the length: 250 MB for all 15 heads of a shipped model at 32k tokens. Everything else in
`freeatten_core.analysis` is computed from them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from freeatten_core.basics.checks import check_whole
from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.precision import without_autocast
from freeatten_core.basics.progress import Advance, Meter, ignore
from freeatten_core.data.tokenizer import token_texts
from freeatten_core.models.interface import EnoughError, LanguageModel, Reading
from freeatten_core.models.modifiers import window_of
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import NO_TERMS, ScoreTerms, check
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.stages import Computed, OwnFunctionName, Stages
from freeatten_core.variants.variant import Variant

from .forecast import (
    check_model,
    check_type,
    chosen_layers,
    refuse_without_memory,
    score_cost,
)

__all__ = ["Capture", "LayerCapture", "capture"]

STATISTICS_COST = 2.0
"""A score costs this much more in the statistics than in the forward pass: for progress only."""
NOT_CAPTURED = ("rerope", "align")
"""Modifiers that weights recomputed from query and key alone would not have."""


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
    softcap: float | None = None
    """Bound of its scores before terms are added."""
    stride: int = 1
    """It sees every so many-th of them, from its own on."""

    @property
    def options(self) -> dict[str, Any]:
        """What `attention_weights` and `row_statistics` are told beside query and key."""
        bounds = {"window": self.window, "softcap": self.softcap}
        return {"enable_gqa": True, **bounds, **self.terms._asdict()}

    def visible_count(self, start: int, stop: int) -> Tensor:
        """How many keys each of the rows start…stop sees, (stop − start,) int64, on the CPU."""
        in_window = torch.arange(start + 1, stop + 1).clamp(max=self.window or stop)
        return (in_window - 1) // self.stride + 1


@dataclass(frozen=True)
class Capture:
    """What one pass over one text left."""

    name: str
    """The checkpoint's."""
    variant: Variant
    """With its modifiers."""
    train_length: int | None
    """Tokens that it was trained on; None where nothing tells."""
    tokens: Tensor
    """(L,) int64, on the CPU, as they were read."""
    tokenizer: Tokenizer
    tokenizer_id: str
    """The same for tokenizers that cut every text alike."""
    layers: Mapping[int, LayerCapture]
    """By layer number, ascending."""
    seconds: float
    """What it took."""
    declared_length: int | None = None
    """Tokens that a model of others declares, if it does."""

    @property
    def label(self) -> str:
        """What it is called beside others: its variant, or the name of a model of others."""
        if self.train_length is not None:
            return str(self.variant)
        return "+".join([self.name, *map(str, self.variant.modifiers)])

    @property
    def weighed_by(self) -> Stages:
        """The stages whose weights for the kept queries and keys are the model's."""
        return own_function.weighed_by(self.variant.computes)

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def heads(self) -> int:
        """Of every layer."""
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


@torch.no_grad()
def capture(
    checkpoint: LanguageModel,
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

    The pass is in float32 under any autocast and ends after the last layer wanted. Statistics are
    of what is kept, so that with bfloat16 they agree with weights recomputed later.

    Args:
        checkpoint: a model, as `load_checkpoint` or `load_causal_model` gives it.
        tokens: (L,), ids of its tokenizer.
        variant: the checkpoint's own with modifiers, such as `softmax+yarn`, set for a text of L
            tokens; None for none.
        layers: their numbers from 0; None for all that have attention.
        device: where to compute and to keep; the checkpoint's model is copied when elsewhere.
        dtype: float32 or bfloat16 of what is kept.
        with_statistics: of rows; they take two thirds of the time.
        advance: progress; an exception raised in it cancels.

    Raises:
        UsageError: tokens, layers, type or variant that do not fit; or too little memory.
        ContentError: layers that cannot be looked into, with the reason, or a value not finite.
    """
    check_model(checkpoint)
    device = usable_device(device)
    tokens = checkpoint.read(_check_tokens(tokens, checkpoint.vocab_size)[None])[0]
    checkpoint.check_length(length := len(tokens))
    chosen = chosen_layers(checkpoint.layers, layers)
    variant = _check_variant(checkpoint, variant)
    check_type(dtype)
    refuse_without_memory(checkpoint, variant, device, length, chosen, dtype, with_statistics)

    began = time.perf_counter()
    statistics = STATISTICS_COST if with_statistics else 0
    window = window_of(variant, checkpoint.restart_length)
    meter = Meter(score_cost(checkpoint.layers, length, chosen, statistics, window), advance)
    keeper = _Keeper(chosen, dtype, with_statistics, meter)
    model = checkpoint.on(device, torch.float32).with_modifiers(variant, length)
    with without_autocast():
        model.run(tokens[None], keeper.observe, meter.add)
    meter.finish()
    return Capture(
        name=checkpoint.name,
        variant=variant,
        train_length=checkpoint.train_length,
        declared_length=checkpoint.declared_length,
        tokens=tokens,
        tokenizer=checkpoint.codec.tokenizer,
        tokenizer_id=checkpoint.codec.id,
        layers=keeper.kept,
        seconds=time.perf_counter() - began,
    )


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
            self.kept[layer] = self._capture(layer, query, key, reading)
        if layer == self.layers[-1]:
            raise EnoughError

    def _capture(self, layer: int, query: Tensor, key: Tensor, reading: Reading) -> LayerCapture:
        if isinstance(reading.computed, OwnFunctionName):
            query, key = own_function.as_scores(query, key, reading.computed)
            key = key[:, :1]
        query, key = query.to(self.dtype, copy=True), key.to(self.dtype, copy=True)
        _check_finite(layer, "query", query[0])
        _check_finite(layer, "key", key[0])
        seen = reading.terms, reading.window, reading.softcap, reading.stride
        kept = LayerCapture(query[0], key[0], None, *seen)
        if not self.with_statistics:
            return kept
        rows = _statistics(kept, reading.computed, self.meter)
        _check_finite(layer, "largest weight", rows.largest)
        _check_finite(layer, "sum of weights", rows.row_sum)
        return replace(kept, rows=rows)


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
        softcap=kept.softcap,
    )
    rows = choice.row_statistics(
        problem,
        query,
        key,
        kept.terms,
        advance=lambda scores: meter.add(scores * STATISTICS_COST),
    )
    return rows.map(lambda tensor: tensor[0])


def _check_finite(layer: int, what: str, values: Tensor) -> None:
    """Whether values (heads, L) or (heads, L, D) are finite.

    Raises:
        ContentError: names the first position of the first head where one is not.
    """
    bad = ~values.isfinite()
    places = (bad if bad.ndim == 2 else bad.any(dim=-1)).nonzero()
    if len(places):
        head, position = places[0].tolist()
        raise ContentError(
            f"not finite: the {what} of layer {layer}, head {head}, position {position:,}"
        )


def _check_tokens(tokens: Tensor, vocab_size: int) -> Tensor:
    if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
        kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise UsageError(f"tokens is {kind}; it must be a tensor of token ids")
    if tokens.ndim != 1 or not len(tokens):
        raise UsageError(
            f"tokens has shape {tuple(tokens.shape)}; it must be (length,), at least 1 token"
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocab_size:
        raise UsageError(
            f"token ids are {low} to {high}; they must be from 0 to {vocab_size - 1}: "
            "cut the text with the checkpoint's own tokenizer"
        )
    return tokens.detach().to("cpu", torch.int64, copy=True)


def _check_variant(checkpoint: LanguageModel, variant: Variant | str | None) -> Variant:
    trained_with = checkpoint.variant
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
    if variant.scales_cosines:
        raise UsageError(
            f"variant is {variant}: maps and statistics compute cosines again, which do not keep "
            "what infoscale multiplies them with; freeatten compare measures it"
        )
    return variant
