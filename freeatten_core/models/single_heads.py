"""Losses of a text where far keys are hidden from one head at a time."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from freeatten_core.ops.call import Attend
from freeatten_core.variants.stages import Computed

from .decoder import Model

__all__ = ["DecoderSingleHeads"]


class DecoderSingleHeads:
    """Losses of one text with one head windowed at a time.

    What lies below that head's layer, and the layer's other heads, are computed once.
    """

    def __init__(self, model: Model, tokens: Tensor, window: int) -> None:
        """tokens (1, L + 1)."""
        self.window, self._model, self._targets = window, copy.copy(model), tokens[:, 1:]
        self._places = model.places(tokens.shape[1] - 1, tokens.device)
        self._hidden = [model.embedding(tokens[:, :-1])]
        self._mixed: list[Tensor] = []
        for layer in range(model.config.layers):
            self._hidden.append(self._layer(layer, self._hidden[-1], self._remember))

    def losses(self, layer: int, head: int, start: int = 0) -> Tensor:
        """Nats per target (1, L − start) with one head windowed."""

        def attend(
            query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **_: Any
        ) -> Tensor:
            shared = head // (query.shape[1] // key.shape[1])
            mixed = self._mixed[layer].clone()
            alone = query[:, [head]], key[:, [shared]], value[:, [shared]]
            mixed[:, head] = self._model.attend(*alone, computed, window=self.window)[:, 0]
            return mixed

        hidden = self._layer(layer, self._hidden[layer], attend)
        for above in range(layer + 1, self._model.config.layers):
            hidden = self._layer(above, hidden, self._model.attend)
        final = self._model.final_norm(hidden[:, start:])
        return self._model.losses_of(final, self._targets[:, start:])

    def _remember(
        self, query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **_: Any
    ) -> Tensor:
        self._mixed.append(self._model.attend(query, key, value, computed))
        return self._mixed[-1]

    def _layer(self, layer: int, hidden: Tensor, attend: Attend) -> Tensor:
        return self._model.layer(layer, hidden, self._places, attend)
