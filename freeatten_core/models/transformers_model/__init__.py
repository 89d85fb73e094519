"""Causal language models of the transformers library, by folder or Hugging Face name.

`transformers` is imported by the functions that need it, so only when such a model is named.
"""

from .load import load_causal_model
from .model import CausalModel
from .source import is_causal_source

__all__ = ["CausalModel", "is_causal_source", "load_causal_model"]
