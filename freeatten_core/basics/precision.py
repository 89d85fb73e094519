"""Computing in the types that were given, whatever `torch.autocast` is on around a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["without_autocast"]

DEVICE_TYPES = ("cpu", "cuda")


@contextmanager
def without_autocast() -> Iterator[None]:
    """A context, or a decorator, in which no product is rounded to autocast's type.

    Autocast takes every matrix product for one of a network's layers: positions of keys and row
    scalars, which are exact in float32, would be rounded to bfloat16's 8 bits.
    """
    with ExitStack() as stack:
        for device_type in DEVICE_TYPES:
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        yield
