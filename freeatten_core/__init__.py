"""How does attention behave as the context grows? Variants, kernels, models, evaluation."""

from .attention import attention, attention_weights, row_statistics
from .checkpoint import Checkpoint, load_checkpoint
from .evaluation import loss_by_length
from .variants import Variant

__all__ = [
    "Checkpoint",
    "Variant",
    "attention",
    "attention_weights",
    "load_checkpoint",
    "loss_by_length",
    "row_statistics",
]
