"""What a measurement asks of a model, of this project or of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from freeatten_core.data.packages import Package
from freeatten_core.ops.call import NO_TERMS, ScoreTerms
from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

from .codec import Codec
from .config import LayerShape
from .modifiers import Temperatures

__all__ = ["EnoughError", "HeadLosses", "LanguageModel", "Observe", "Reading", "Undone"]


@dataclass(frozen=True)
class Reading:
    """How a layer makes weights of the queries and keys that it shows."""

    computed: Computed
    window: int | None = None
    """A row sees at most this many keys, its own included; None for all before it."""
    softcap: float | None = None
    """Bound of its scores."""
    terms: ScoreTerms = NO_TERMS
    """What else its scores are given, a row a head."""
    stride: int = 1
    """Of the keys in its window a row sees every so many-th, from its own on; by the terms the
    others have a weight of 0."""


Observe = Callable[[int, Tensor, Tensor, Reading], None]
"""Called with a layer's number, its queries (B, H, L, D) and keys (B, Hkv, L, D) as the scores see
them, and how it reads them. What it raises ends the pass."""


class EnoughError(Exception):
    """Who observes a pass has seen what was wanted; the rest of the pass is not needed."""


Undone = Literal["window", "rotation", "scale", "rotation+scale"]
"""What can be undone of what is new to rows that see keys farther back than a model knows: those
keys are hidden, turned as the farthest known, or the growth of scores with N is the other one."""


class HeadLosses(Protocol):
    """One text, with one head's far keys hidden at a time."""

    def losses(self, layer: int, head: int, start: int = 0) -> Tensor:
        """Nats per target, float32 (1, L − start), for the targets from `start` on."""


@runtime_checkable
class LanguageModel(Protocol):
    """A causal language model. Threads can share it: nothing here changes it."""

    @property
    def name(self) -> str:
        """What it was loaded by: a shipped name, folder or repository."""

    @property
    def variant(self) -> Variant:
        """What its attention computes, without modifiers."""

    @property
    def vocab_size(self) -> int:
        """Ids that it knows."""

    @property
    def train_length(self) -> int | None:
        """Tokens that it was trained on; None where nothing tells."""

    @property
    def declared_length(self) -> int | None:
        """Tokens that its configuration declares instead, if it does."""

    @property
    def known_length(self) -> int | None:
        """Tokens back that it has met: what it was trained on, or else what it declares."""

    @property
    def restart_length(self) -> int:
        """Tokens after which the model that it is compared with forgets, unless asked otherwise."""

    @property
    def codec(self) -> Codec:
        """From text to ids and back."""

    @property
    def layers(self) -> Mapping[int, LayerShape]:
        """The layers with attention, by number, ascending; others are not counted."""

    @property
    def takes_window(self) -> bool:
        """Whether every layer's attention can be given a window, or another attention."""

    @property
    def maps_refused(self) -> str | None:
        """Why its layers cannot be looked into, in a sentence; None where they can."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def uses_operator(self) -> bool:
        """Whether the operator of this project computes its attention."""

    def packages(self) -> list[Package]:
        """Packages that it says it was trained on."""

    def check_length(self, length: int) -> None:
        """Whether a text can be that long.

        Raises:
            UsageError: it has no positions for it.
        """

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens that it reads in the place of given ones, (…, L): some begin every text."""

    def pass_bytes(self, length: int) -> int:
        """Temporaries of a pass over so many tokens, without attention's own."""

    def scoring_bytes(
        self, variant: Variant, tokens: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> int:
        """Peak of a pass that scores every token, with what copies of the weights take.

        Args:
            variant: its own with modifiers.
            tokens: in the pass.
            length: of each of its windows.
            device, dtype: of the weights.
        """

    def score_count(self, length: int) -> int:
        """Scores of a pass over so many tokens at most, over all heads and layers."""

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The model there and in that type, or its own: itself where it is so, else a copy."""

    def type_for(self, dtype: torch.dtype) -> torch.dtype:
        """The type of its weights `on` a device where that one is asked for."""

    def with_modifiers(
        self,
        variant: Variant,
        longest: int,
        restart: int | None = None,
        temperatures: Temperatures | None = None,
    ) -> Self:
        """The same weights with a variant's modifiers.

        Args:
            variant: its own with modifiers.
            longest: tokens of the longest text, which some are set for.
            restart: keys that a row sees under `window`; None for its usual ones. What it was
                trained on, where that is known.
            temperatures: what `align` was fitted to.

        Raises:
            UsageError: it cannot have them.
        """

    def undoing(self, what: Undone, variant: Variant, longest: int) -> Self:
        """The same weights with a variant's modifiers and a thing undone in every head.

        Args:
            what: of what is new beyond the known length.
            variant: its own, with scalings of its rotation as modifiers at most.
            longest: tokens of the longest text.

        Raises:
            UsageError: that cannot be undone in it.
        """

    def single_heads(self, tokens: Tensor, window: int) -> HeadLosses:
        """A text (1, L + 1) to be scored with one head windowed at a time."""

    def head_share(self, layer: int) -> float:
        """Of a pass, what is computed again with one head of a layer windowed."""

    def token_losses(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        """Nats per target, float32 (B, L − start), for the targets from `start` on.

        Args:
            tokens, targets: (B, L); `targets[:, i]` is what follows `tokens[:, i]`.

        Raises:
            UsageError: more tokens than it has positions for.
        """

    def not_finite_logits(self, tokens: Tensor) -> int:
        """How many logits of texts (B, L) are not finite."""

    def run(self, tokens: Tensor, observe: Observe, advance: Callable[[float], None]) -> None:
        """Pass texts through the layers and show each with attention, in their order.

        Args:
            tokens: (B, L).
            observe: is given every layer; an `EnoughError` of it ends the pass.
            advance: called with the number of scores of every part of attention.

        Raises:
            UsageError: more tokens than it has positions for.
            ContentError: a layer reads in a way that has no `Reading`; the message says which.
        """
