"""What the library offers at its top, and that its errors come without PyTorch."""

import subprocess
import sys

import pytest

import freeatten_core
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.ops.operator import attention

LIGHT = """
import sys
from freeatten_core.basics import errors, signals, version
print([name for name in ("torch", "numpy") if name in sys.modules])
"""


@pytest.mark.parametrize("name", freeatten_core.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(freeatten_core, name))
    assert name in dir(freeatten_core)


def test_a_public_name_is_what_its_module_has():
    assert freeatten_core.attention is attention
    assert freeatten_core.Checkpoint is Checkpoint


def test_a_name_that_is_none_is_refused_as_usual():
    with pytest.raises(AttributeError, match="'freeatten_core' has no attribute 'atention'"):
        freeatten_core.atention  # noqa: B018
    with pytest.raises(ImportError, match="atention"):
        from freeatten_core import atention  # noqa: F401


def test_errors_and_signals_need_no_pytorch():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
