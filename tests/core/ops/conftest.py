import warnings
from importlib import import_module

import pytest
import torch


@pytest.fixture
def poisoned_memory():
    """Memory that is allocated without being written holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def quiet_numpy():
    """Triton's interpreter computes with NumPy, which warns where a GPU gives an infinity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@pytest.fixture
def small_tiles(monkeypatch):
    """Cut even short sequences into many tiles."""
    launch = import_module("freeatten_core.ops.backends.fused.launch")
    tuning = import_module("freeatten_core.ops.backends.fused.tuning")
    for name in ("forward_tiles", "query_tiles", "key_tiles"):
        monkeypatch.setattr(launch, name, lambda *_: tuning.Tiles(16, 32))
