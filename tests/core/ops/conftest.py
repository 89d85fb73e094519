import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from chromium import started_chromium

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
def language_patched_once():
    """Triton's interpreter patches its language anew wherever one function calls another.

    That is a third of its time, and changes nothing after the first time in a launch.
    """
    if find_spec("triton") is None:
        yield
        return
    language = import_module("triton.language")
    interpreter = import_module("triton.runtime.interpreter")
    patch, patched = interpreter._patch_lang, set()

    @cache
    def needed(function):
        there = function.__globals__.values()
        return {one.__name__ for one in (language, language.core) if any(x is one for x in there)}

    def patch_once(function):
        if patched and needed(function) <= patched:
            return None  # of a call within a launch, which restores all at its end
        scope = patch(function)
        if not patched:
            scope.restore = lambda restore=scope.restore: (patched.clear(), restore())
        patched.update(needed(function))
        return scope

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", patch_once)
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
def small_tiles(monkeypatch):
    """Cut even short sequences into many tiles."""
    launch = import_module("freeatten_core.ops.backends.fused.launch")
    tuning = import_module("freeatten_core.ops.backends.fused.tuning")
    for name in ("forward_tiles", "query_tiles", "key_tiles"):
        monkeypatch.setattr(launch, name, lambda *_: tuning.Tiles(16, 32))


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
