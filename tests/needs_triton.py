"""What tests of the Triton kernels need."""

from __future__ import annotations

import importlib.util
import os

import pytest


def require_triton() -> None:
    """Skips the module or the test that calls it where Triton cannot be had, as on macOS; there the
    library computes without these kernels. With `CI` set it fails, so that no run of the whole
    suite leaves them out in silence.
    """
    if importlib.util.find_spec("triton") is None:
        _leave_out("Triton, which is made for Linux alone, is not installed")


def require_kernels() -> None:
    """The same for what runs kernels: they need a GPU, or Triton's interpreter in its place."""
    import torch

    require_triton()
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        _leave_out("no GPU, and Triton was imported without its interpreter")


def _leave_out(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}: its kernels would not be tested", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
