"""What the name of a model of the transformers library stands for."""

from __future__ import annotations

import re
from pathlib import Path

from freeatten_core.basics.errors import ContentError
from freeatten_core.basics.files import expanded
from freeatten_core.models.catalogue import fetch_files, is_near_shipped
from freeatten_core.models.format import CONFIG, read_json

from .gguf import SUFFIX, conversion, converted, form_of
from .source import ADAPTER, DESCRIPTION, Source

__all__ = ["conversion_of", "find", "is_causal_source", "is_gguf"]

_HUB = r"(?P<repository>[\w.-]+/[\w.-]+)"
_REVISION = r"(@(?P<revision>[\w./-]+))?"
_NAME = re.compile(rf"{_HUB}{_REVISION}")
_BARE = re.compile(rf"(?P<repository>[\w.-]+){_REVISION}")
"""A repository of the hub's own models, such as gpt2."""
_URL = re.compile(
    rf"https://(huggingface\.co|hf\.co)/{_HUB}(/(tree|blob|resolve)/(?P<revision>[\w.-]+)(/.*)?)?/?"
)


def is_causal_source(text: str) -> bool:
    """Whether `text` names a model of the transformers library rather than one of this project.

    Of a repository the description is fetched.

    Raises:
        UsageError, ContentError: as `find`.
    """
    return find(text) is not None


def find(text: str) -> Source | None:
    """The model that `text` names; None where it is none of the transformers library.

    A GGUF file is converted, unless it was before.

    Raises:
        UsageError: a repository that the hub does not give, or as `converted`.
        ContentError: as `converted`.
    """
    path = expanded(text)
    if is_gguf(text):
        folder = converted(path)
        return Source(text, folder, form=form_of(folder))
    if path.is_dir():
        return Source(text, path) if _is_transformers(path) else None
    match = _URL.fullmatch(text) or _NAME.fullmatch(text) or _bare(text)
    if match is None or text.startswith("."):
        return None
    repository, revision = match["repository"], match["revision"]
    folder = fetch_files(repository, DESCRIPTION, revision)
    name = repository if revision is None else f"{repository}@{revision}"
    return Source(name, folder, repository, revision) if _is_transformers(folder) else None


def conversion_of(text: str) -> str | None:
    """What is about to be written for a GGUF file; None where nothing is.

    Raises:
        UsageError, ContentError: as `converted`.
    """
    return conversion(expanded(text)) if is_gguf(text) else None


def is_gguf(text: str) -> bool:
    """Whether `text` names a GGUF file."""
    return text.lower().endswith(SUFFIX)


def _bare(text: str) -> re.Match[str] | None:
    """A name without an owner that is none of this project's, and resembles none."""
    return None if is_near_shipped(text) else _BARE.fullmatch(text)


def _is_transformers(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return (folder / ADAPTER).is_file()
    try:
        values = read_json(folder / CONFIG)
    except ContentError:
        return False
    return "format" not in values and ("model_type" in values or "architectures" in values)
