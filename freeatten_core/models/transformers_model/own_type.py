"""The model type of checkpoints that this project converted: a Llama with another attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freeatten_core.basics.errors import ContentError
from freeatten_core.ops.call import what_computes
from freeatten_core.variants.stages import Stages

__all__ = ["ATTENTION", "OWN_TYPE", "attention_in", "llama_values"]

OWN_TYPE = "freeatten"
ATTENTION = "attention"
"""The key of a configuration that names what is computed."""


def attention_in(name: str, values: Mapping[str, Any]) -> Stages | None:
    """What a configuration's attention computes, where it is of this type; None where it is not.

    Raises:
        ContentError: it names no attention that is made of stages.
    """
    if values.get("model_type") != OWN_TYPE:
        return None
    named = values.get(ATTENTION)
    try:
        computed = what_computes(named if isinstance(named, str) else "")
    except ValueError as error:
        raise ContentError(f"{name}: {ATTENTION} is {named!r}: {error}") from error
    if not isinstance(computed, Stages):  # a configuration does not say what code is run
        raise ContentError(f"{name}: {ATTENTION} is {named!r}; it must be a named variant")
    return computed


def llama_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the Llama that holds the weights."""
    left_out = ("model_type", "architectures", ATTENTION)
    return {key: value for key, value in values.items() if key not in left_out}
