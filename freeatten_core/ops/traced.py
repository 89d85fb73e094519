"""What `torch.compile` takes as it is when it traces a call, instead of following it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

from .call import parsed_computes

__all__ = ["parsed"]

parsed: Callable[[Variant | str], Computed] = torch.compiler.assume_constant_result(parsed_computes)  # type: ignore[no-untyped-call]
"""The reading of a name: regular expressions and tables, the same every time."""
