"""How does attention behave as the context grows? Variants, kernels, models, evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .measures.scoring import loss_by_length
    from .models.checkpoint import Checkpoint, load_checkpoint
    from .ops.operator import attention, attention_weights, row_statistics
    from .variants.variant import Variant

__all__ = [
    "Checkpoint",
    "Variant",
    "attention",
    "attention_weights",
    "load_checkpoint",
    "loss_by_length",
    "row_statistics",
]
_MODULES = {
    "Checkpoint": ".models.checkpoint",
    "Variant": ".variants.variant",
    "attention": ".ops.operator",
    "attention_weights": ".ops.operator",
    "load_checkpoint": ".models.checkpoint",
    "loss_by_length": ".measures.scoring",
    "row_statistics": ".ops.operator",
}


def __getattr__(name: str) -> Any:
    """A public name when it is first asked for: what needs no PyTorch does not wait for it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
