"""A decoder's attention in parts, between which progress is reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from freeatten_core.ops.call import NO_TERMS, ScoreTerms
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.variants.stages import Computed, OwnFunctionName

from .decoder import Model
from .forecast import seen_scores
from .modifiers import with_operator

__all__ = ["reporting"]

CHUNK_SCORES = 1 << 25
"""Scores computed between two reports: about 50 ms on two cores."""


def reporting(model: Model, advance: Callable[[float], None]) -> Model:
    """The model, with or without modifiers, with its own attention cut in parts.

    Args:
        advance: called with the number of scores of every part.
    """
    model = copy.copy(model)
    model.attend = with_operator(model.attend, grouped_attention, _InParts(advance))
    return model


@dataclass(frozen=True)
class _InParts:
    """Attention by blocks of queries, each against the keys it sees."""

    advance: Callable[[float], None]

    def __call__(
        self,
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
            self.advance(len(query) * seen_scores(heads, stop - start, stop, window))
        return output
