"""Two controls that use of a longer context has to beat, over the last half of each text.

S: the same model sliding. W: the row's checkpoint with a window in every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.basics.shards import WHOLE, Shard
from freeatten_core.data.selection import Text
from freeatten_core.results.verdicts import control
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Modifier, Variant

from .scoring import Advance, Losses, Scorer, pass_cost, score_windows, stacked

__all__ = [
    "Others",
    "sliding_cost",
    "sliding_losses",
    "window_variant",
    "windowed_cost",
    "windowed_losses",
]


@dataclass(frozen=True)
class Others:
    """Losses of the last half of each text, (texts, M/2), by what a row's are compared with."""

    sliding: NDArray[np.float32]
    """The same model sliding."""
    window: NDArray[np.float32] | None
    """Its checkpoint with a window; None where there is no such model."""

    def controls(self, losses: Losses, length: int) -> dict[str, Any]:
        """S and W at a length as a row holds them, over the last halves of its windows there."""
        own, longest = losses.by_length[length], losses.longest
        late = np.arange(longest // 2, longest)
        scored = late % length >= length // 2

        def against(other: NDArray[np.float32]) -> NDArray[np.float64]:
            difference = (own[:, longest // 2 :] - other)[:, scored]
            return np.asarray(difference.mean(axis=1, dtype=np.float64))

        window = None if self.window is None else against(self.window)
        return control("sliding", against(self.sliding)) | control("window", window)


def window_variant(variant: Variant) -> Variant | None:
    """What W compares a row with: its weights and its attention, and a window of L.

    None for a function of one's own, which has no window, for stick-breaking, whose weights a
    window breaks: the row's own key is given all that the keys beyond it would have taken, and
    for dilated layers, whose rows see as many keys at every length.
    """
    computed = variant.computes
    dilated = variant.setting.dilate is not None
    if isinstance(computed, OwnFunctionName) or computed.needs_order or dilated:
        return None
    swap = variant.modifier("swap")
    kept = () if swap is None else (swap,)
    return variant.with_modifiers((*kept, Modifier("window")))


def sliding_losses(
    scorer: Scorer,
    texts: Sequence[Text],
    train_length: int,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
    shard: Shard = WHOLE,
) -> NDArray[np.float32]:
    """Losses of a model that reads windows of `L` moved by `L/4`, each scoring its last quarter.

    Args:
        scorer: for example `Model.token_losses`.
        texts: of `M + 1` tokens each, `M` at least twice `train_length`.
        train_length: `L`.
        shard: which of the texts are scored.

    Returns:
        Nats of the last half of each text of the shard, (texts, M/2); every token has `¾L` to `L`
        of context.
    """
    tokens = stacked(texts)[shard.part(len(texts))]
    longest = tokens.shape[1] - 1
    step, starts = _slides(longest, train_length)
    losses = np.empty((len(tokens), longest), dtype=np.float32)
    for text, start, part in score_windows(
        scorer, tokens, train_length, starts, train_length - step, device, advance
    ):
        losses[text, start + train_length - step : start + train_length] = part
    return losses[:, longest // 2 :]


def _slides(longest: int, train_length: int) -> tuple[int, range]:
    """How far windows are moved, and where they start, the last first."""
    step = max(1, train_length // 4)
    return step, range(longest - train_length, longest // 2 - train_length, -step)


def windowed_losses(
    scorer: Scorer,
    texts: Sequence[Text],
    train_length: int,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
    shard: Shard = WHOLE,
) -> NDArray[np.float32]:
    """Losses of the last half of each text by a model with a window, in one pass, (texts, M/2).

    Args:
        scorer: of a model whose every row sees its last `train_length` keys.
        texts: of `M + 1` tokens each.
        shard: which of the texts are scored.
    """
    tokens = stacked(texts)[shard.part(len(texts))]
    longest = tokens.shape[1] - 1
    first = longest // 2
    losses = np.empty((len(tokens), longest - first), dtype=np.float32)
    for text, _, part in score_windows(scorer, tokens, longest, [0], first, device, lambda _: None):
        losses[text] = part
        advance(windowed_cost(1, longest, train_length))
    return losses


def sliding_cost(texts: int, longest: int, train_length: int) -> float:
    """What `sliding_losses` reports to `advance` in all."""
    _, starts = _slides(longest, train_length)
    return pass_cost(texts * len(starts), train_length)


def windowed_cost(texts: int, longest: int, train_length: int) -> float:
    """What `windowed_losses` reports to `advance` in all."""
    # a window of L has as many keys a row as causal attention to 2 L tokens has on average
    return pass_cost(1, 2 * train_length) * texts * longest / (2 * train_length)
