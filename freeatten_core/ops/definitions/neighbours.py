"""The files beside a function's own, which it may import by their names."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["importable", "sources"]

_kept: dict[Path, dict[str, ModuleType]] = {}
"""By folder, what its files imported from beside them."""
_one_at_a_time = threading.RLock()
"""Of the app's threads: what can be imported belongs to the whole process."""


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let what runs inside import the files of a folder.

    Outside they cannot be found, because two folders may each have a `helper.py`.
    """
    with _one_at_a_time:
        kept = _kept.setdefault(folder, {})
        covered = {name: sys.modules[name] for name in kept if name in sys.modules}
        sys.modules.update(kept)
        before = set(sys.modules)
        sys.path.insert(0, str(folder))
        try:
            yield
        finally:
            sys.path.remove(str(folder))
            new = (name for name in set(sys.modules) if name.partition(".")[0] not in before)
            kept |= {name: sys.modules[name] for name in new if _lies_in(name, folder)}
            for name in kept:
                sys.modules.pop(name, None)
            sys.modules.update(covered)


def sources(folder: Path) -> Mapping[str, str]:
    """The texts of the files that were imported from beside a function, by their names."""
    files = {module.__file__ for module in _kept.get(folder, {}).values()}
    paths = sorted(Path(file) for file in files if file)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode("utf-8", "replace")
        for path in paths
    }


def _lies_in(name: str, folder: Path) -> bool:
    """Whether a module is a Python file in the folder or below, installed packages aside."""
    file = getattr(sys.modules[name], "__file__", None)
    if not file or not file.endswith(".py") or not Path(file).is_relative_to(folder):
        return False
    return "site-packages" not in Path(file).relative_to(folder).parts
