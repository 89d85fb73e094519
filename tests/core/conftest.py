import os

import pytest
import torch
from hypothesis import settings

from freeatten_core.ops.backends.panels import panel

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

settings.register_profile("core", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("core")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """These tensors are small: threads that wait for a busy core cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_panels(monkeypatch):
    """Cut even short sequences into many blocks of rows and of heads."""
    monkeypatch.setattr(panel, "PANEL_ELEMENTS", 600)
    monkeypatch.setattr(panel, "PANEL_ROWS", 23)
