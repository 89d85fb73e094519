"""This project's attention in models of the transformers library.

    import freeatten_core.transformers
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        "HuggingFaceTB/SmolLM2-135M", attn_implementation="freeatten:lssar:p=15"
    )

Every named variant is an `attn_implementation` once this is imported; `register` adds others.
Training, gradient checkpointing, caches that grow and `Trainer` work as with the library's own
attentions. What would be computed wrongly is refused: see `masks` and `attention`.
"""

from .attention import register, register_named
from .convert import convert, register_model

__all__ = ["convert", "register"]

register_named()
register_model()
