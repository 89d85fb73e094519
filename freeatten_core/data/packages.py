"""Installed packages as training text, with their names and licences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import expanded

from .documents import (
    NOT_EVALUATED,
    TRAINED,
    Document,
    check_there,
    path_documents,
    read_if_text,
)

__all__ = [
    "Package",
    "check_sources",
    "package_documents",
    "packages_from_json",
    "packages_to_json",
    "trained_on",
    "training_documents",
]

MAX_FILE_BYTES = 1_000_000
"""Larger files in an installed package are generated tables."""


@dataclass(frozen=True)
class Package:
    """An installed distribution that training text came from."""

    name: str
    version: str
    licence: str
    modules: tuple[str, ...]


def check_sources(sources: Sequence[str]) -> None:
    """Whether what is to be trained on is there, before anything of it is read.

    Raises:
        UsageError: it is not.
    """
    for source in sources:
        if source != "packages":
            check_there(expanded(source), TRAINED)


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
            document = read_if_text(path, file.as_posix())
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
            modules=tuple(map(str, entry["modules"])),  # type: ignore[call-overload]  # read from JSON
        )
        for entry in entries
    ]
