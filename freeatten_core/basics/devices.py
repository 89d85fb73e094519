"""Which device to compute on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .errors import UsageError

__all__ = ["DTYPES", "choose_device", "device_name", "usable_device"]

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


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


def usable_device(device: str | torch.device) -> torch.device:
    """Any device that torch names and can compute on.

    Raises:
        UsageError: it names none, or there is none of it here.
    """
    if not isinstance(device, str | torch.device):
        raise UsageError(f"device is {device!r}; it must be a name, such as 'cpu' or 'cuda'")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # what torch raises for each kind of device
        raise _unusable(device) from error
    if found.type == "meta":  # holds no numbers
        raise _unusable(device)
    return found


def _unusable(device: str | torch.device) -> UsageError:
    return UsageError(f"device is {str(device)!r}, and torch cannot compute there; use cpu")


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
