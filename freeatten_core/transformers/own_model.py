"""A model type of its own for checkpoints that compute something else than softmax.

It is a Llama whose attention is named in its configuration. A library that does not know the type
refuses it, where a plain Llama would compute softmax on weights that were trained with something
else, and say nothing.
"""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from freeatten_core.basics.errors import UsageError
from freeatten_core.models.transformers_model.own_type import OWN_TYPE

from .attention import PREFIX, register

__all__ = ["FreeattenConfig", "FreeattenForCausalLM"]


class FreeattenConfig(LlamaConfig):  # type: ignore[misc]  # no types in transformers
    model_type = OWN_TYPE
    attention: str | None = None
    """The variant."""


class FreeattenForCausalLM(LlamaForCausalLM):  # type: ignore[misc]  # no types there
    config_class = FreeattenConfig

    def __init__(self, config: FreeattenConfig) -> None:
        if config.attention is None:
            raise UsageError("a freeatten model names its attention in config.json; this has none")
        register(config.attention)
        super().__init__(config)

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: str | None, *_: Any, **__: Any
    ) -> str:
        own = f"{PREFIX}{self.config.attention}"
        if attn_implementation not in (None, own):
            raise UsageError(
                f"attn_implementation is {attn_implementation!r}; these weights were trained with "
                f"{own} and are wrong under another"
            )
        return own
