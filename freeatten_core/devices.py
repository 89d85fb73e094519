"""Which device to compute on."""

from __future__ import annotations

import torch

from .errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device.

    Raises:
        UsageError: another name, or no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {name!r}; it can be auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("device is 'cuda', and torch sees no GPU here; use cpu")
    return torch.device("cuda")


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
