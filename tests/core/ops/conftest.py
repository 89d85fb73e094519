import warnings
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from chromium import started_chromium
from interpreter import quickened

from freeatten_core.mapview import component_script

chromium = pytest.fixture(scope="module")(started_chromium)


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


@pytest.fixture(scope="session", autouse=True)
def quick_interpreter():
    with quickened() if find_spec("triton") else nullcontext():
        yield


@pytest.fixture
def small_sticks(monkeypatch):
    """Cut even short sequences into many blocks of keys, and of rows that are carried at once."""
    sticks = import_module("freeatten_core.ops.backends.fused.stick_ops")
    for name in ("ROWS", "WIDE_ROWS"):
        monkeypatch.setattr(sticks, name, 16)
    for name in ("KEYS", "WIDE_KEYS"):
        monkeypatch.setattr(sticks, name, 32)
    monkeypatch.setattr(sticks, "CARRIED", 128)


@pytest.fixture
def short_coarse_calls(monkeypatch):
    """Short calls of LSSAR have the forward with coarse sums too."""
    launch = import_module("freeatten_core.ops.backends.fused.fast_launch")
    monkeypatch.setattr(launch, "TOKENS", 1)


@pytest.fixture
def short_fast_sweeps(monkeypatch):
    """Short calls of LSSAR have the backward's fast sweeps too."""
    launch = import_module("freeatten_core.ops.backends.fused.launch")
    monkeypatch.setattr(launch, "FAST_KEYS", dict.fromkeys(launch.FAST_KEYS, 1))


@pytest.fixture
def small_tiles(monkeypatch):
    """Cut even short sequences into many tiles."""
    launch = import_module("freeatten_core.ops.backends.fused.launch")
    tuning = import_module("freeatten_core.ops.backends.fused.tuning")
    for name in ("forward_tiles", "query_tiles", "key_tiles"):
        monkeypatch.setattr(launch, name, lambda *_: tuning.Tiles(16, 32))
    statistics = import_module("freeatten_core.ops.backends.fused.statistics_launch")
    monkeypatch.setattr(statistics, "query_tiles", lambda *_: tuning.Tiles(16, 32))


@pytest.fixture
def shared_keys(monkeypatch):
    """Share out the keys of even short sequences, a tile a program."""
    split = import_module("freeatten_core.ops.backends.fused.split_launch")
    tuning = import_module("freeatten_core.ops.backends.fused.tuning")
    monkeypatch.setattr(split, "LEAST_KEYS", 1)
    monkeypatch.setattr(split, "WIDTHS", range(257))
    monkeypatch.setattr(split, "TYPES", (*split.TYPES, torch.float32))
    monkeypatch.setattr(split, "MOST_ROWS", 64)

    def tiles(rows, *sizes):
        return replace(tuning.split_tiles(rows, *sizes), keys=16)

    monkeypatch.setattr(split, "split_tiles", tiles)


@pytest.fixture(scope="module")
def page(chromium):
    """A page with the component that shows maps, and nothing else."""
    page, told = chromium.browser().new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.evaluate(component_script())
    yield page
    page.close()
    assert told == []


@pytest.fixture
def component(chromium, page):
    battery = import_module("battery")  # not before Triton is told to interpret
    battery.PAGES.append(page)
    with chromium.watched():
        yield
    battery.PAGES.clear()
