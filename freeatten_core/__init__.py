"""How does attention behave as the context grows? Variants, kernels, models, evaluation."""

from .attention import attention, attention_weights, row_statistics
from .variants import Variant

__all__ = [
    "Variant",
    "attention",
    "attention_weights",
    "row_statistics",
]
