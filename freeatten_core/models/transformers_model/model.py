"""A causal language model of the transformers library, as measurements use it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from freeatten_core.basics.errors import ContentError, UsageError, out_of_memory
from freeatten_core.basics.lengths import default_restart
from freeatten_core.data.packages import Package
from freeatten_core.models.codec import Codec
from freeatten_core.models.config import LayerShape
from freeatten_core.models.forecast import CONSTANT_BYTES, seen_scores
from freeatten_core.models.interface import EnoughError, Observe, Reading, Undone
from freeatten_core.models.modifiers import Temperatures
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant

from .attention import Call, Change, HeadWindow, alone, changed, check_plain, watched, windowed
from .config import PASS_STATES, reason
from .losses import LOGIT_NUMBERS, LOGITS, logits_in_parts, token_losses
from .modified import modified, undoing

__all__ = ["CausalModel", "CausalSingleHeads", "entrance"]

SOFTMAX = Variant()


@dataclass(frozen=True)
class CausalModel:
    """A loaded model; threads can share it."""

    name: str
    """The folder, the GGUF file, or the repository with its revision."""
    folder: Path
    network: Any
    """A `…ForCausalLM` of transformers, for inference."""
    body: nn.Module
    codec: Codec
    declared_length: int | None
    """Tokens that the configuration declares; not what it was trained on."""
    position_limit: int | None
    """Tokens that it has positions for; None where there is no table of them."""
    vocab_size: int
    takes_window: bool
    """Whether every layer's attention can be given a window."""
    layers: Mapping[int, LayerShape]
    """Those with attention that is made here, by number, in the order of a pass."""
    variant: Variant = SOFTMAX
    """What its attention computes: softmax, or with sinks `off-by-one`."""
    maps_refused: str | None = None
    """Why its layers cannot be looked into, in a sentence."""
    form: str | None = None
    """How the weights were stored, such as `GGUF Q4_1, dequantised`; None for floating point."""
    window: int | None = None
    """Keys that a row sees at most, in every layer."""
    change: Change | None = None
    """What every layer's attention does otherwise."""
    windowed_head: HeadWindow | None = None
    """A head whose far keys are hidden."""

    @property
    def head_dim(self) -> int:
        """Numbers of a head's query."""
        config = self.network.config
        return int(
            getattr(config, "head_dim", 0) or config.hidden_size // config.num_attention_heads
        )

    @property
    def spread(self) -> Mapping[str, int | str]:
        """Where accelerate put its parts; empty where it is in one place."""
        return _spread(self.network)

    @property
    def device(self) -> torch.device:
        """Where its weights are; of a model that is spread, where its texts go in."""
        return entrance(self.network)

    @property
    def uses_operator(self) -> bool:
        """Where its attention was swapped for one of this project, or trained with it."""
        return self.change is not None and self.change.takes_operator

    def packages(self) -> list[Package]:
        """None: nothing tells."""
        return []

    def type_for(self, dtype: torch.dtype) -> torch.dtype:
        """The one that is asked for, or its own where it is spread."""
        return self._dtype if self.spread else dtype

    @property
    def _dtype(self) -> torch.dtype:
        """Of its weights."""
        found: torch.dtype = next(self.network.parameters()).dtype
        return found

    def _is_there(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether it stays as it is where a device and a type are asked for."""
        here = self.device
        is_there = here.type == device.type and device.index in (None, here.index)
        return bool(self.spread) or (is_there and self._dtype == dtype)

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> CausalModel:
        """The model there and in that type, or its own: itself where it is so, or spread, else a
        copy."""
        if self._is_there(device, dtype or self._dtype):
            return self
        network, body = copy.deepcopy((self.network, self.body))
        _move(network, device, dtype or self._dtype)
        return replace(self, network=network, body=body)

    @property
    def train_length(self) -> None:
        """None: nothing tells what it was trained on."""
        return None

    @property
    def known_length(self) -> int | None:
        """What it declares."""
        return self.declared_length

    @property
    def restart_length(self) -> int:
        """The power of two up to 2,048 and the declared length."""
        return default_restart(self.declared_length, None)

    def with_modifiers(
        self,
        variant: Variant,
        longest: int,
        restart: int | None = None,
        temperatures: Temperatures | None = None,  # noqa: ARG002  (of the interface; of `align`)
    ) -> CausalModel:
        """The same weights with a variant's modifiers; see `modified`."""
        return modified(self, variant, longest, restart or self.restart_length)

    def undoing(self, what: Undone, variant: Variant, longest: int) -> CausalModel:
        """The same weights with a thing undone; see `modified.undoing`."""
        return undoing(self, what, variant, longest)

    def single_heads(self, tokens: Tensor, window: int) -> CausalSingleHeads:
        """Losses of a text (1, L + 1) with one head windowed at a time, a pass each."""
        return CausalSingleHeads(self, tokens, window)

    def head_share(self, layer: int) -> float:  # noqa: ARG002  (of the interface)
        """Of a pass, what is computed again with one head of a layer windowed: all of it."""
        return 1.0

    def pass_bytes(self, length: int) -> int:
        """Temporaries of a pass over so many tokens, without attention's own."""
        width = int(getattr(self.network.config, "hidden_size", 0) or 0)
        return 4 * length * width * PASS_STATES + CONSTANT_BYTES

    def scoring_bytes(
        self,
        variant: Variant,  # noqa: ARG002  (of the interface)
        tokens: int,
        length: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> int:
        """Peak of a pass that scores every token, with the weights where it is to be copied; those
        with a window share them. Nothing where it is spread: accelerate left room for a pass."""
        if self.spread:
            return 0
        weights = sum(weight.numel() for weight in self.network.parameters()) * dtype.itemsize
        logits = LOGIT_NUMBERS * 4 * max(LOGITS, tokens // length * self.vocab_size)
        copied = 0 if self._is_there(device, dtype) else weights
        return copied + self.pass_bytes(tokens) + logits

    def score_count(self, length: int) -> int:
        """Scores of a pass over so many tokens; windows of its own are not counted."""
        return sum(seen_scores(shape.heads, length, length) for shape in self.layers.values())

    def with_window(self, window: int) -> CausalModel:
        """The same weights, where every row sees its last `window` keys in every layer.

        Raises:
            UsageError: not every layer's attention can be given one.
        """
        if not self.takes_window:
            raise UsageError(f"{self.name}: not every layer can be given a window")
        return replace(self, window=window)

    @torch.inference_mode()
    def token_losses(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        """Nats per target, float32 (B, L − start), for the targets from `start` on.

        What the tokenizer puts before a text stands in the place of the first tokens read, so that
        L tokens stay L.

        Args:
            tokens, targets: (B, L); `targets[:, i]` is what follows `tokens[:, i]`.

        Raises:
            UsageError: more tokens than the model has positions for.
        """
        self.check_length(tokens.shape[1])
        try:
            with self._asked():
                read, wanted = self.read(tokens).to(self.device), targets.to(self.device)
                found = token_losses(self.network, self.body, read, wanted, start)
                return found.to(tokens.device)
        except (IndexError, RuntimeError) as error:
            declared = self.declared_length
            known = isinstance(error, ContentError) or out_of_memory(error)
            if declared is None or tokens.shape[1] <= declared or known:
                raise
            raise UsageError(
                f"{self.name} fails at {tokens.shape[1]:,} tokens, past the {declared:,} that it "
                f"declares: {reason(error)}"
            ) from error

    @torch.inference_mode()
    def not_finite_logits(self, tokens: Tensor) -> int:
        """How many logits of texts (B, L) are not finite."""
        self.check_length(tokens.shape[1])
        with self._asked():
            read = self.read(tokens).to(self.device)
            parts = logits_in_parts(self.network, self.body, read)
            return sum(int((~logits.isfinite()).sum()) for _, logits in parts)

    @torch.no_grad()
    def run(self, tokens: Tensor, observe: Observe, advance: Callable[[float], None]) -> None:
        """Pass texts through the layers and show each with attention; see `LanguageModel.run`."""
        if self.maps_refused is not None:
            raise ContentError(self.maps_refused)
        self.check_length(tokens.shape[1])
        left = list(self.layers)

        def see(call: Call) -> None:
            layer = left.pop(0)
            observe(layer, *self._reading(layer, call))
            if not left:
                raise EnoughError

        with suppress(EnoughError), self._asked(), watched(see, advance):
            self.network(input_ids=self.read(tokens.to(self.device)), use_cache=False)

    def _reading(self, layer: int, call: Call) -> tuple[Tensor, Tensor, Reading]:
        """Queries, on which what the scores are scaled with rides, and keys of a layer's call."""
        if call.window is None:
            raise ContentError(
                f"{self.name}: in layer {layer} a row sees neither all keys before it nor the last "
                "ones, so its layers cannot be looked into"
            )
        window = None if call.window == call.key.shape[2] else call.window
        if self.change is not None and self.change.computed is not None:
            check_plain(call)
            return call.query_as_scored, call.key, Reading(self.change.computed, window)
        reading = Reading(Stages(), window, call.softcap)
        if call.sinks is not None:
            # a key without a value and of score z is one of score 0 where all others are z less
            terms = ScoreTerms(distance_bias=-call.sinks.float()[:, None])
            reading = Reading(Stages(normalise="off-by-one"), window, call.softcap, terms)
        return call.query_as_scored, call.key, reading

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Its attention is as it was asked for, in this thread."""
        with ExitStack() as asked:
            if self.window is not None:
                asked.enter_context(windowed(self.window))
            if self.change is not None:
                asked.enter_context(changed(self.change))
            if self.windowed_head is not None:
                asked.enter_context(alone(self.windowed_head))
            yield

    def check_length(self, length: int) -> None:
        """Whether a text can be that long.

        Raises:
            UsageError: there are fewer positions.
        """
        if self.position_limit is not None and length > self.position_limit:
            raise UsageError(
                f"{self.name} has {self.position_limit:,} positions and cannot read {length:,} "
                "tokens"
            )

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens with the prefix in the place of the first, (B, L)."""
        prefix = self.codec.prefix[: tokens.shape[1]]
        if not prefix:
            return tokens
        read = tokens.clone()
        read[:, : len(prefix)] = torch.tensor(prefix, dtype=tokens.dtype, device=tokens.device)
        return read


@dataclass(frozen=True)
class CausalSingleHeads:
    """Losses of one text with one head windowed at a time."""

    model: CausalModel
    tokens: Tensor
    """(1, L + 1)"""
    window: int

    def losses(self, layer: int, head: int, start: int = 0) -> Tensor:
        """Nats per target (1, L − start) with one head windowed."""
        place = HeadWindow(list(self.model.layers).index(layer), head, self.window)
        changed = replace(self.model, windowed_head=place)
        return changed.token_losses(self.tokens[:, :-1], self.tokens[:, 1:], start)


def entrance(network: nn.Module) -> torch.device:
    """Where a model's texts go in: where its weights are, or the first of its parts."""
    spread = _spread(network)
    if spread:
        first = next(iter(spread.values()))
        return torch.device("cpu" if first == "disk" else first)
    weight: Tensor = next(network.parameters())
    return weight.device


def _spread(network: nn.Module) -> Mapping[str, int | str]:
    return getattr(network, "hf_device_map", None) or {}


def _move(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Parameters there and in that type. Buffers keep theirs, as where the library loads a model in
    bfloat16: rotary frequencies rounded to it turn the token at 8,192 by radians too much."""
    buffers = dict(network.named_buffers())
    network.to(device, dtype)
    for name, values in buffers.items():
        place, _, own = name.rpartition(".")
        setattr(network.get_submodule(place), own, values.to(device))
