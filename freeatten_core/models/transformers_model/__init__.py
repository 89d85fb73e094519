"""Causal language models of the transformers library, by folder, GGUF file or hub name.

`transformers` is imported by the functions that need it, so only when such a model is named.
"""

from .described import LOADING_TOKENS, Described, describe
from .load import load_causal_model
from .model import CausalModel
from .names import conversion_of, is_causal_source, is_gguf

__all__ = [
    "LOADING_TOKENS",
    "CausalModel",
    "Described",
    "conversion_of",
    "describe",
    "is_causal_source",
    "is_gguf",
    "load_causal_model",
]
