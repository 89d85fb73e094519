"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ContentError, UsageError


def expanded(text: str) -> Path:
    """A path with `~` and `~user` resolved; one that names no user is a name like others.

    Raises:
        UsageError: it is empty, or no path can be that long.
    """
    if not text:
        raise UsageError("'' is no path; name a file or a folder (. is the current one)")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        path = Path(text)
    try:
        path.exists()
    except OSError as error:
        raise UsageError(f"{text[:40]}… is not a path: {error.strerror}") from error
    return path


def printable(name: str) -> str:
    """A file's name with bytes that are no UTF-8 written as `\\xe9`, which any file can hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_utf8(path: Path) -> None:
    """Whether the libraries that read and write weights can be given a path.

    Raises:
        UsageError: bytes in it are no UTF-8.
    """
    shown = printable(str(path))
    if shown != str(path):
        raise UsageError(f"{shown}: a checkpoint's folder needs a path in UTF-8; rename it")


def check_writable(path: Path) -> None:
    """Whether a file can be made at `path`, before work is spent on what goes into it.

    Raises:
        UsageError: its folder does not exist or takes no file, or `path` is a folder.
    """
    _check_place(path)
    try:
        _made_beside(path).unlink()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: the folder {path.parent} is read-only")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Raises:
        UsageError: as `check_writable`.
        ContentError: the disk is full or the folder cannot be written.
    """
    _check_place(path)
    try:
        temporary = _made_beside(path)
    except OSError as error:
        raise ContentError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise ContentError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _made_beside(path: Path) -> Path:
    """A new file in the folder of `path`, hidden, of its ending."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with `\\udce9` for what no UTF-8 can hold; errors as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well.

    Raises:
        ContentError: the disk is full, the parent cannot be written, or `path` is a file.
    """
    if path.is_file():
        raise ContentError(f"cannot write {path}: it is a file, and a folder is to be made there")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(temporary.name + ".old")
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ContentError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
