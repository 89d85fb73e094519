"""Texts: what is evaluated, what is trained on, and what keeps the two apart.

Evaluation texts exist on every machine (the standard library, its English help) or are the
user's own. Training texts are installed packages and folders of files. A training file that
repeats the standard library is dropped.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from freeatten_core.basics.errors import ContentError, UsageError, reason_of
from freeatten_core.basics.files import expanded, printable
from freeatten_core.basics.suggestions import closest_path

__all__ = [
    "NOT_EVALUATED",
    "TRAINED",
    "Document",
    "check_there",
    "digest",
    "evaluation_documents",
    "manifest",
    "path_documents",
    "prose_documents",
    "read_if_text",
    "stdlib_documents",
    "stdlib_root",
]

NOT_EVALUATED = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"})

SNIFF_BYTES = 8192
"""A file is judged by its beginning: one that is binary there is not read on."""
EVALUATED, TRAINED = ("stdlib", "prose", "- for standard input"), ("packages",)
"""What a text can be besides a file or folder."""
CHUNK_BYTES = 1 << 20
STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class Document:
    """One text, never a join of several; `name` is relative to its source."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def evaluation_documents(source: str, stdin: BinaryIO | TextIO | None = None) -> list[Document]:
    """The documents of `stdlib`, `prose`, `-` (standard input) or a path, sorted by name.

    Args:
        stdin: standard input; its bytes are read, so that what a terminal's settings make of them
            changes no text. None where it is closed.

    Raises:
        UsageError: the path is empty or does not exist, or nothing in it is text.
        ContentError: the file is binary, empty or unreadable.
    """
    if source == "stdlib":
        return list(stdlib_documents())
    if source == "prose":
        return prose_documents()
    if source == "-":
        return [_read_stdin(stdin)]
    return path_documents(expanded(source))


def stdlib_root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def stdlib_documents() -> Iterator[Document]:
    """The interpreter's own `*.py` files, without tests and bundled tools."""
    root = stdlib_root()
    for path in sorted(_modules(root)):
        document = read_if_text(path, path.relative_to(root).as_posix())
        if document is not None:
            yield document


def _modules(root: Path) -> Iterator[Path]:
    """Its `*.py` files, without a walk through installed packages, which can have many more."""
    for folder, within, files in os.walk(root):
        within[:] = [name for name in within if name not in NOT_EVALUATED]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def prose_documents() -> list[Document]:
    """The English of Python's built-in help, a document a topic."""
    from pydoc_data.topics import topics

    return [Document(f"pydoc/{name}", text) for name, text in sorted(topics.items())]


def path_documents(path: Path, others: Sequence[str] = EVALUATED) -> list[Document]:
    """A file or pipe, or every text file below a folder.

    Raises:
        UsageError: nothing is there, or nothing in the folder is text.
        ContentError: the file is binary, empty or unreadable.
    """
    check_there(path, others)
    if not path.is_dir():  # a pipe too: what a shell makes of <(command) is one
        return [_read_text(path, path.name)]
    found = [
        document
        for file in sorted(path.rglob("*"))
        if file.is_file() and not _hidden(file.relative_to(path))
        if (document := read_if_text(file, file.relative_to(path).as_posix())) is not None
    ]
    if not found:
        raise UsageError(f"no text in the folder {path}: no file in it is UTF-8 text")
    return found


def check_there(path: Path, others: Sequence[str] = EVALUATED) -> None:
    """Whether a text can be read there, before work is spent on what else is asked.

    Raises:
        UsageError: nothing is there; says what could be, `others` besides a file or folder.
    """
    if path.exists():
        return
    words = [other for other in others if other.isalpha()]
    close = closest_path(str(path), path, lambda beside: not beside.name.startswith("."), words)
    *first, last = ("a file", "a folder", *others)
    raise UsageError(
        f"no text at {path}: it must be {', '.join(first)}, or {last}"
        + (f"; did you mean {close!r}?" if close else "")
    )


def digest(documents: Iterable[Document]) -> str:
    """SHA-256 of the names and texts of documents, in their order."""
    whole = hashlib.sha256()
    for document in documents:
        name = document.name.encode(errors="surrogateescape")
        whole.update(b"%s\0%s\n" % (name, document.sha256.encode()))
    return whole.hexdigest()


def manifest(documents: Iterable[Document]) -> dict[str, str]:
    """SHA-256 of every document's text, by name."""
    return {document.name: document.sha256 for document in documents}


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)


def _read_text(path: Path, name: str) -> Document:
    try:
        with path.open("rb") as file:
            text = _decoded(file, str(path))
    except OSError as error:
        raise ContentError(f"cannot read {path}: {reason_of(error)}") from error
    if not text.strip():
        raise ContentError(f"{path} is empty; it must hold text")
    return Document(printable(name), text)


def _read_stdin(stdin: BinaryIO | TextIO | None) -> Document:
    if stdin is None:
        raise UsageError(f"{STANDARD_INPUT} is closed; pipe a text into it")
    try:
        text = _decoded(cast("BinaryIO", getattr(stdin, "buffer", stdin)), STANDARD_INPUT)
    except OSError as error:
        raise ContentError(f"cannot read {STANDARD_INPUT}: {reason_of(error)}") from error
    if not text.strip():
        raise ContentError(f"{STANDARD_INPUT} is empty; pipe a text into it")
    return Document(STANDARD_INPUT, text)


def _decoded(file: BinaryIO, shown: str) -> str:
    """UTF-8 text with lines that end in a line feed, from wherever its bytes come.

    What is not text is given up at the first byte that says so.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    parts: list[str] = []
    read, chunk = 0, file.read(SNIFF_BYTES)
    if b"\0" in chunk:
        raise ContentError(f"{shown} is binary; it must be UTF-8 text")
    while True:
        held = len(decoder.getstate()[0])  # bytes of a character that is not whole yet
        try:
            parts.append(decoder.decode(chunk, final=not chunk))
        except UnicodeDecodeError as error:
            at = read - held + error.start
            raise ContentError(f"{shown} is not UTF-8 text: byte {at} is not valid") from error
        if not chunk:
            return "".join(parts).replace("\r\n", "\n")
        read += len(chunk)
        chunk = file.read(CHUNK_BYTES)


def read_if_text(path: Path, name: str) -> Document | None:
    try:
        return _read_text(path, name)
    except ContentError:
        return None
