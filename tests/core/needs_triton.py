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
    if importlib.util.find_spec("triton") is not None:
        return
    if os.environ.get("CI"):
        pytest.fail("Triton is missing, and its kernels would not be tested", pytrace=False)
    pytest.skip("Triton, which is made for Linux alone, is not installed", allow_module_level=True)
