"""What a name asks of an operator."""

from __future__ import annotations

from functools import lru_cache

from freeatten_core.variants.setting import usual_setting
from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

__all__ = ["computes_of"]


def computes_of(variant: Variant | str) -> Computed:
    """What a variant, or one of that name, computes.

    Raises:
        ValueError: an unknown variant, or one with modifiers or of other positions or gates.
    """
    return _computed(variant if isinstance(variant, str) else Variant.parse(variant))


@lru_cache(maxsize=256)  # reading a name takes a tenth of a call of 16 tokens
def _computed(variant: Variant | str) -> Computed:
    variant = Variant.parse(variant)
    if variant.modifiers:
        raise ValueError(
            f"variant is {variant}: +{variant.modifiers[0]} changes a model, not the "
            f"attention operator; pass {variant.trained}"
        )
    if variant.setting != usual_setting(variant.computes):
        raise ValueError(
            f"variant is {variant}: its options make a model, not the attention operator, which "
            f"takes positions and gates as arguments; pass {Variant.of(variant.computes)}"
        )
    return variant.computes
