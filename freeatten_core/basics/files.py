"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from .errors import ContentError, UsageError, reason_of

__all__ = [
    "SavedElsewhereError",
    "check_makeable",
    "check_utf8",
    "check_writable",
    "expanded",
    "locked",
    "printable",
    "replacing",
    "replacing_folder",
    "write_text",
    "write_utf8",
]


class SavedElsewhereError(ContentError):
    """A folder is whole, but not at its place, which was taken while it was made."""

    def __init__(self, path: Path, place: Path) -> None:
        super().__init__(
            f"{path} came into being meanwhile and is left as it is; what was made is whole in "
            f"{place}"
        )
        self.place = place


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
        raise UsageError(f"{text[:40]}… is not a path: {reason_of(error)}") from error
    return path


def printable(name: str) -> str:
    """A file's name with bytes that are no UTF-8 written as `\\xe9`, which any file can hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_utf8(path: Path) -> None:
    """Whether the libraries that read and write weights can be given a path.

    Raises:
        UsageError: bytes in it are no UTF-8, or the environment's encoding cannot hold them.
    """
    shown = printable(str(path))
    try:
        name = os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"{shown}: a checkpoint's folder needs a path in UTF-8; rename it"
        ) from None
    if name != str(path):
        raise UsageError(
            f"{name}: the environment's encoding, {sys.getfilesystemencoding()}, cannot hold this "
            "folder's path; set a UTF-8 locale such as LC_ALL=C.UTF-8, or PYTHONUTF8=1"
        )


def check_writable(path: Path) -> None:
    """Whether a file can be made at `path`, before work is spent on what goes into it.

    Raises:
        UsageError: its folder does not exist or takes no file, or `path` is a folder.
    """
    _check_place(path)
    probe = _temporary(path)
    try:
        probe.touch(0o600, exist_ok=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        probe.unlink(missing_ok=True)


def check_makeable(path: Path) -> None:
    """Whether a folder can be made at `path`, or can be filled where there is one.

    Raises:
        UsageError: what is nearest above takes no files; says why.
    """
    nearest = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    probe = _temporary(nearest / "probe")
    try:
        probe.touch(0o600, exist_ok=False)
    except OSError as error:
        raise UsageError(
            f"cannot make {path}: {nearest} is not a folder that can be written to: "
            f"{reason_of(error)}"
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: the folder {path.parent} is not writable")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Raises:
        UsageError: as `check_writable`.
        ContentError: the disk is full or the folder cannot be written.
    """
    _check_place(path)
    temporary = _temporary(path)
    try:
        temporary.touch(0o600, exist_ok=False)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise ContentError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A name that is known before anything has it, so that no interruption can leave it behind."""
    return path.absolute().with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with `\\udce9` for what no UTF-8 can hold; errors as `replacing`."""
    with replacing(path) as temporary:
        write_utf8(temporary, text)


def write_utf8(path: Path, text: str) -> None:
    """Write text that any locale reads back; bytes of a name that are no text are escaped."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def replacing_folder(
    path: Path, may_replace: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well.

    What is at `path` then stays, unless it is an empty folder: the new one is kept beside it.

    Args:
        may_replace: whether a folder that is there was made by the same command and may go.

    Raises:
        SavedElsewhereError: `path` was taken by something else; it says where the folder is.
        ContentError: the disk is full, the parent cannot be written, or `path` is a file.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.is_file():
        raise ContentError(f"cannot write {path}: it is a file, and a folder is to be made there")
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(0o700)
        yield temporary
        temporary.chmod(0o755)
        place = _settled(temporary, path, may_replace)
    except OSError as error:
        raise ContentError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if place != path:
        raise SavedElsewhereError(path, place)


def _settled(temporary: Path, path: Path, may_replace: Callable[[Path], bool]) -> Path:
    """Where the folder is, once it has its name."""
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        if path.is_dir() and may_replace(path):
            path.rename(old)
        return _renamed(temporary, path)
    finally:
        if old.exists() and not os.path.lexists(path):
            old.rename(path)
        elif may_replace(old):
            shutil.rmtree(old, ignore_errors=True)


def _renamed(temporary: Path, path: Path) -> Path:
    """Rename to `path`, or where that is taken to the first of `path-2`, `path-3`, …

    A folder takes the place of nothing but an empty folder: the system sees to that, at once.
    """
    try:
        temporary.rename(path)
        return path
    except OSError:
        if not os.path.lexists(path):
            raise
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    place = next(each for each in numbered if not os.path.lexists(each))
    temporary.rename(place)
    return place


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """No other process or thread is in such a block of the same path; blocks can be nested.

    The lock is the system's: it ends with its process, however that ends.

    Args:
        path: what is to be made; the lock is a hidden file beside it.
        busy: what to say to the second.

    Raises:
        UsageError: another has the lock, or there can be no such path.
        ContentError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # the operator alone, as a kernel, does without

    check_makeable(path.parent)  # where no file can be made, a lock waits as for another's
    lock_path = path.absolute().with_name(f".{path.name}.lock")
    lock = FileLock(lock_path, is_singleton=True)
    try:
        try:
            lock_path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise UsageError(busy) from error
        except OSError as error:
            raise ContentError(f"cannot write {lock_path}: {reason_of(error)}") from error
        yield
    finally:
        if lock.lock_counter == 1:  # the outermost block
            with suppress(OSError):
                lock_path.unlink()
        lock.release()
