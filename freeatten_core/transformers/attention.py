"""The attention operator as layers of the transformers library call it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from freeatten_core.basics.errors import UsageError
from freeatten_core.models.transformers_model.config import require_transformers
from freeatten_core.ops.call import what_computes
from freeatten_core.ops.operator import attention
from freeatten_core.variants.stages import P_MAX, P_MIN, Computed, OwnFunctionName
from freeatten_core.variants.variant import PLAIN, SHARPENED, Variant

from .masks import Seen, seen_keys

__all__ = ["PREFIX", "register", "register_named"]

PREFIX = "freeatten:"
"""Of the names that the library knows these attentions by."""

UNKNOWN = {
    "softcap": "a cap of the scores",
    "s_aux": "a sink",
    "position_bias": "a bias by position",
    "head_mask": "a mask of heads",
}
"""What some layers hand on that this attention does not compute."""
PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "cu_seqlens", "seq_idx")
"""How packed texts are told to attentions that take their bounds."""


def register(variant: Variant | str) -> str:
    """Make an attention known to the library, and its name as an `attn_implementation`.

    Args:
        variant: any without modifiers, such as `"lssar:p=15"`.

    Raises:
        UsageError: an unknown variant, one with modifiers, or no transformers library.
    """
    computed = what_computes(variant)
    return _register(str(computed), computed)


def register_named() -> None:
    """Make every named variant known, `freeatten:lssar` and `freeatten:lssar:p=15` among them."""
    for name in (*PLAIN, *SHARPENED):
        _register(name, what_computes(name))
    for name in SHARPENED:
        for power in range(P_MIN, P_MAX + 1):
            register(f"{name}:p={power}")


def _register(name: str, computed: Computed) -> str:
    transformers = require_transformers()
    known_as = PREFIX + name
    transformers.AttentionInterface.register(known_as, partial(_attend, computed))
    transformers.AttentionMaskInterface.register(known_as, seen_keys)
    return known_as


def _attend(
    computed: Computed,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Seen | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of a layer, (B, L, heads, width of a value), and no weights.

    Args:
        computed: what the attention is.
        module: the layer.
        query: (B, heads, L, D), the last tokens of the keys.
        key, value: (B, key heads, tokens read so far, D and width of a value).
        attention_mask: what rows see, from `seen_keys`.
        scaling: of `q·k`, 1/√D where it is None; cosine scores do not depend on it.
        dropout: of the weights, which there is none of.
        position_ids: (B, L), where the model hands them on.
        others: what else the model hands on.

    Raises:
        UsageError: what would be computed wrongly: dropout, a cap, a sink, packed texts, a mask
            that is not the library's own causal one.
    """
    _check_others(computed, dropout, others)
    if not isinstance(attention_mask, Seen):
        kind = "no mask" if attention_mask is None else "a mask made elsewhere, such as a 4-D one"
        raise _refused(
            computed,
            f"{type(module).__name__} gives it {kind}; it takes causal rows as the library makes "
            "them, whole or with a window",
        )
    attention_mask.check(query.shape[2], key.shape[2], position_ids)
    if scaling is not None and not isinstance(computed, OwnFunctionName) and not computed.cosine:
        factor = scaling * math.sqrt(query.shape[-1])
        query = query if math.isclose(factor, 1, abs_tol=1e-9) else query * factor
    window = attention_mask.window
    mixed = attention(query, key, value, computed, enable_gqa=True, window=window)
    return mixed.transpose(1, 2).contiguous(), None


def _check_others(computed: Computed, dropout: float, others: dict[str, Any]) -> None:
    if dropout:
        raise _refused(
            computed, f"it has no dropout of weights; set attention_dropout from {dropout} to 0"
        )
    for name, what in UNKNOWN.items():
        if others.get(name) is not None:
            raise _refused(computed, f"the model's attention has {what} ({name}), which it has not")
    if any(others.get(name) is not None for name in PACKED):
        raise _refused(computed, "several texts are packed into a row; give one text a row")
    if others.get("is_causal") is False:
        raise _refused(computed, "the layer sees later tokens too; it is for causal layers alone")


def _refused(computed: Computed, why: str) -> UsageError:
    return UsageError(f"attn_implementation {PREFIX}{computed}: {why}")
