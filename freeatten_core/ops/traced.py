"""What `torch.compile` takes as it is when it traces a call, instead of following it."""

from __future__ import annotations

import torch

from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

from .names import computes_of

__all__ = ["parsed"]

_read: dict[str, Computed] = {}


def parsed(variant: Variant | str) -> Computed:
    """`computes_of`, whose regular expressions and tables are not traced."""
    return _read[_name_read(variant)]  # of what a table holds the compiler knows the properties


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # no types in PyTorch
def _name_read(variant: Variant | str) -> str:
    name = str(variant)
    _read[name] = computes_of(variant)
    return name
