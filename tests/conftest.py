"""What every test stands on: packages, threads, and how many processes the tests run in.

From a checkout, `cli`, `app` and `assets` are importable under their installed names. Programs that
tests start run this file too, so it loads nothing slow itself.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"freeatten_cli": "cli", "freeatten_app": "app", "freeatten_assets": "assets"}

for name, folder in FOLDERS.items():
    if importlib.util.find_spec(name) is None:
        spec = importlib.util.spec_from_file_location(
            name,
            ROOT / folder / "__init__.py",
            submodule_search_locations=[str(ROOT / folder)],
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)

# Set before torch loads, and for the programs that tests start. These tensors are small: threads
# that wait for a busy core cost more than they give.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Settings of libraries that must not depend on which test loads them first."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return  # it hands out tests and runs none
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported


def pytest_collection() -> None:
    """While tests are collected nothing becomes garbage: looking for it takes a worker seconds."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected stays to the end, and is not looked at again."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """No workers for files and tests named one by one: starting them takes longer than most.

    Else one more than there are cores, as browsers and programs that tests start keep workers
    waiting: a whole run on two cores is most of a minute shorter with three workers than with two.
    """
    named = config.args_source is config.ArgsSource.ARGS
    if named and all(".py" in argument for argument in config.args):
        return 0
    return (os.cpu_count() or 1) + 1
