"""Texts: what is evaluated, what is trained on, and what keeps the two apart.

Evaluation texts exist on every machine (the standard library, its English help) or are the
user's own. Training texts are installed packages and folders of files. A training file that
repeats the standard library is dropped.
"""

from __future__ import annotations

import codecs
import hashlib
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from .errors import ContentError, UsageError
from .files import expanded, printable
from .suggestions import closest_path

NOT_EVALUATED = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"})
OVERLAP_LINE = 25
"""Lines longer than this many characters count when two files are compared."""
OVERLAP_SHARE = 0.30
"""A training file that shares this share of its counted lines is dropped."""
MAX_FILE_BYTES = 1_000_000
"""Larger files in an installed package are generated tables."""
SNIFF_BYTES = 8192
EVALUATED, TRAINED = ("stdlib", "prose", "- for standard input"), ("packages",)
"""What a text can be besides a file or folder."""
"""A file is judged by its beginning: one that is binary there is not read on."""
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


@dataclass(frozen=True)
class Package:
    """An installed distribution that training text came from."""

    name: str
    version: str
    licence: str
    modules: tuple[str, ...]


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
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not NOT_EVALUATED.intersection(relative.parts):
            document = _read_if_text(path, relative.as_posix())
            if document is not None:
                yield document


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
    if not path.exists():
        raise _nothing_at(path, others)
    if not path.is_dir():  # a pipe too: what a shell makes of <(command) is one
        return [_read_text(path, path.name)]
    found = [
        document
        for file in sorted(path.rglob("*"))
        if file.is_file() and not _hidden(file.relative_to(path))
        if (document := _read_if_text(file, file.relative_to(path).as_posix())) is not None
    ]
    if not found:
        raise UsageError(f"no text in the folder {path}: no file in it is UTF-8 text")
    return found


def _nothing_at(path: Path, others: Sequence[str]) -> UsageError:
    words = [other for other in others if other.isalpha()]
    close = closest_path(str(path), path, lambda beside: not beside.name.startswith("."), words)
    *first, last = ("a file", "a folder", *others)
    return UsageError(
        f"no text at {path}: it must be {', '.join(first)}, or {last}"
        + (f"; did you mean {close!r}?" if close else "")
    )


def training_documents(source: str) -> tuple[list[Document], list[Package]]:
    """Documents to train on: `packages` (installed Python source), a file or a folder.

    Returns:
        The documents, without exact repeats, and the packages they are from.
    """
    if source == "packages":
        documents, packages = package_documents()
    else:
        documents, packages = path_documents(expanded(source), TRAINED), []
    unique = {document.sha256: document for document in reversed(documents)}
    return sorted(unique.values(), key=lambda document: document.name), packages


def package_documents() -> tuple[list[Document], list[Package]]:
    """Python source of every installed distribution, without tests, and the distributions."""
    documents, packages = [], []
    for distribution in sorted(metadata.distributions(), key=_distribution_name):
        found = list(_distribution_documents(distribution))
        if found:
            documents += found
            packages.append(_describe(distribution, found))
    if not documents:
        raise UsageError("no Python source in the installed packages; name a folder instead")
    return documents, packages


def _distribution_documents(distribution: metadata.Distribution) -> Iterator[Document]:
    for file in distribution.files or ():
        if file.suffix != ".py" or NOT_EVALUATED.intersection(file.parts) or ".." in file.parts:
            continue
        path = Path(str(distribution.locate_file(file)))
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            document = _read_if_text(path, file.as_posix())
            if document is not None:
                yield document


def _distribution_name(distribution: metadata.Distribution) -> str:
    return (distribution.metadata["Name"] or "").lower()


def _describe(distribution: metadata.Distribution, found: Sequence[Document]) -> Package:
    tops = {document.name.split("/")[0].removesuffix(".py") for document in found}
    return Package(
        name=distribution.metadata["Name"],
        version=distribution.version,
        licence=_licence(distribution),
        modules=tuple(sorted(tops)),
    )


def _licence(distribution: metadata.Distribution) -> str:
    """The licence as the distribution states it, in one short line."""
    fields = distribution.metadata
    given = fields.get_all("License-Expression") or fields.get_all("License") or [""]
    stated = str(given[0])
    classified = [
        line.rsplit(" :: ", 1)[-1]
        for line in fields.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    first = stated.strip().splitlines()[0].strip() if stated.strip() else ""
    if first and len(first) <= 60:
        return first
    return "; ".join(classified) or first[:60] or "not stated"


def counted_lines(text: str) -> list[str]:
    """The lines that count when files are compared, without surrounding blanks."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if len(line) > OVERLAP_LINE]


def without_overlap(
    documents: Iterable[Document], held_out: Iterable[Document]
) -> tuple[list[Document], dict[str, str]]:
    """Drop documents that share 30 % or more of their counted lines with held-out text.

    Returns:
        The documents kept, and by the name of each dropped the held-out one it shares most with.
    """
    holder = {line: held.name for held in held_out for line in counted_lines(held.text)}
    kept, dropped = [], dict[str, str]()
    for document in documents:
        lines = counted_lines(document.text)
        holders = Counter(holder[line] for line in lines if line in holder)
        if lines and holders.total() >= OVERLAP_SHARE * len(lines):
            dropped[document.name] = holders.most_common(1)[0][0]
        else:
            kept.append(document)
    return kept, dropped


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


def trained_on(path: Path, packages: Iterable[Package]) -> str | None:
    """The listed package that the file at `path` belongs to, if any."""
    parts = path.resolve().parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts and parts.index(folder) + 1 < len(parts):
            top = parts[parts.index(folder) + 1].removesuffix(".py")
            for package in packages:
                if top in package.modules:
                    return package.name
    return None


def packages_to_json(packages: Iterable[Package]) -> list[dict[str, object]]:
    return [asdict(package) for package in packages]


def packages_from_json(entries: Iterable[dict[str, object]]) -> list[Package]:
    return [
        Package(
            name=str(entry["name"]),
            version=str(entry["version"]),
            licence=str(entry["licence"]),
            modules=tuple(map(str, entry["modules"])),  # type: ignore[call-overload]
        )
        for entry in entries
    ]


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)


def _read_text(path: Path, name: str) -> Document:
    try:
        with path.open("rb") as file:
            text = _decoded(file, str(path))
    except OSError as error:
        raise ContentError(f"cannot read {path}: {error.strerror}") from error
    if not text.strip():
        raise ContentError(f"{path} is empty; it must hold text")
    return Document(printable(name), text)


def _read_stdin(stdin: BinaryIO | TextIO | None) -> Document:
    if stdin is None:
        raise UsageError(f"{STANDARD_INPUT} is closed; pipe a text into it")
    try:
        text = _decoded(cast("BinaryIO", getattr(stdin, "buffer", stdin)), STANDARD_INPUT)
    except OSError as error:
        raise ContentError(f"cannot read {STANDARD_INPUT}: {error.strerror}") from error
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


def _read_if_text(path: Path, name: str) -> Document | None:
    try:
        return _read_text(path, name)
    except ContentError:
        return None
