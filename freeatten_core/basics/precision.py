"""What `torch.autocast` means for a call: the type of its inputs, and of nothing inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

__all__ = ["autocast_together", "without_autocast"]

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


def autocast_together(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one device in the type of the autocast around them, as for PyTorch's attention.

    Without autocast, and where one is float64 or no tensor, it is as it was.
    """
    device_type = getattr(getattr(tensors[0], "device", None), "type", None)
    if device_type not in DEVICE_TYPES or not torch.is_autocast_enabled(device_type):
        return tensors
    dtype = torch.get_autocast_dtype(device_type)
    return tuple(x.to(dtype) if _is_narrowed(x) else x for x in tensors)


def _is_narrowed(tensor: Tensor) -> bool:
    floats = (torch.float16, torch.bfloat16, torch.float32)
    return isinstance(tensor, Tensor) and tensor.dtype in floats
