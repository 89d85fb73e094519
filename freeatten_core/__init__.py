"""How does attention behave as the context grows? Variants, kernels, models, evaluation."""

from .measures.scoring import loss_by_length
from .models.checkpoint import Checkpoint, load_checkpoint
from .models.transformers_model import CausalModel, load_causal_model
from .ops.operator import attention, attention_weights, row_statistics
from .variants.variant import Variant

__all__ = [
    "CausalModel",
    "Checkpoint",
    "Variant",
    "attention",
    "attention_weights",
    "load_causal_model",
    "load_checkpoint",
    "loss_by_length",
    "row_statistics",
]
