"""What low precision does to a row: values that are not finite, and rows that do not sum to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from freeatten_core.data.selection import Text
from freeatten_core.models.interface import LanguageModel, Reading
from freeatten_core.ops.operator import row_statistics
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant

from .scoring import Advance, Losses, pass_cost

__all__ = ["precision_cost", "precision_entry"]


def precision_cost(variant: Variant, model: LanguageModel, texts: int, longest: int) -> float:
    """What `precision_entry` reports to `advance` in all: every text is read once for its logits,
    and a second time where rows are summed."""
    return (1 + _is_summed(variant, model)) * pass_cost(texts, longest)


@torch.inference_mode()
def precision_entry(
    variant: Variant,
    model: LanguageModel,
    texts: Sequence[Text],
    losses: Losses,
    *,
    device: torch.device,
    advance: Advance,
) -> dict[str, Any]:
    """Values that are not finite, and how far row sums are from 1 at the longest length.

    Args:
        variant: a row's, with its modifiers. Sums are of rows that this project computes.
        model: the same, on `device`, in the precision asked about.
        texts: of the longest length + 1 tokens.
        losses: of those texts.
        advance: called with the cost of every pass.
    """
    sums, bad_logits = [0.0], 0
    summed = _is_summed(variant, model)

    def observe(_layer: int, query: Tensor, key: Tensor, reading: Reading) -> None:
        given: dict[str, Any] = {"window": reading.window, "softcap": reading.softcap}
        given |= reading.terms._asdict()
        found = row_statistics(query, key, reading.computed, enable_gqa=True, **given).row_sum
        sums.append(float((found - 1).abs().nan_to_num(nan=math.inf).max()))

    for text in texts:
        tokens = torch.from_numpy(text.tokens[None, :-1]).to(device)
        bad_logits += model.not_finite_logits(tokens)
        advance(pass_cost(*tokens.shape))
        if summed:
            model.run(tokens, observe, lambda _: None)
            advance(pass_cost(*tokens.shape))
    bad_losses = sum(int((~np.isfinite(table)).sum()) for table in losses.by_length.values())
    return {
        "nonfinite": {"logits": bad_logits, "losses": bad_losses},
        "row_sum_deviation": max(sums) if summed else None,
    }


def _is_summed(variant: Variant, model: LanguageModel) -> bool:
    """Whether rows of what is computed sum to 1, and row statistics are of those rows: a function
    of one's own promises no sum, and `rerope` scores far keys otherwise. The same with and without
    the modifiers, of which `swap` brings the operator."""
    computed = variant.computes
    summed = isinstance(computed, Stages) and computed.sums_to_one
    by_operator = model.uses_operator or variant.modifier("swap") is not None
    return by_operator and summed and variant.modifier("rerope") is None
