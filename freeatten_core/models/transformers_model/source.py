"""Where a model of the transformers library lies: a folder, or a repository on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import expanded
from freeatten_core.models.catalogue import fetch_files
from freeatten_core.models.format import CONFIG, read_json

__all__ = ["ADAPTER", "Source", "find", "is_causal_source"]

ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
DESCRIPTION = (
    *(CONFIG, ADAPTER, INDEX, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
)
"""Everything that is read before the weights; small."""
WEIGHTS = ("model.safetensors", "model-*.safetensors")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

_HUB = r"(?P<repository>[\w.-]+/[\w.-]+)"
_NAME = re.compile(rf"{_HUB}(@(?P<revision>[\w./-]+))?")
_URL = re.compile(
    rf"https://(huggingface\.co|hf\.co)/{_HUB}(/(tree|blob|resolve)/(?P<revision>[\w.-]+)(/.*)?)?/?"
)


@dataclass(frozen=True)
class Source:
    """A model as it was named, and the folder with its description."""

    name: str
    folder: Path
    repository: str | None = None
    revision: str | None = None

    def with_weights(self) -> Source:
        """The same with its weights on this machine, fetched if it is a repository.

        Raises:
            UsageError: the hub does not give them.
            ContentError: there are none in safetensors.
        """
        if self.repository is not None:
            fetch_files(self.repository, [*DESCRIPTION, *WEIGHTS], self.revision)
        if any(True for pattern in WEIGHTS for _ in self.folder.glob(pattern)):
            return self
        pickled = [path.name for pattern in PICKLES for path in self.folder.glob(pattern)]
        also = f" (only {sorted(pickled)[0]}, a pickle, which can run code)" if pickled else ""
        raise ContentError(f"{self.name} has no weights in safetensors{also}; only those are read")


def is_causal_source(text: str) -> bool:
    """Whether `text` names a model of the transformers library rather than one of this project.

    Of a repository the description is fetched.

    Raises:
        UsageError: a GGUF file, or a repository that the hub does not give.
    """
    return find(text) is not None


def find(text: str) -> Source | None:
    """The model that `text` names; None where it is none of the transformers library.

    Raises:
        UsageError: a GGUF file, or a repository that the hub does not give.
    """
    if text.lower().endswith(".gguf"):
        raise UsageError(
            f"{text} is a GGUF file, which is not read; give the folder or the repository of the "
            "model's safetensors"
        )
    path = expanded(text)
    if path.is_dir():
        return Source(text, path) if _is_transformers(path) else None
    match = _URL.fullmatch(text) or _NAME.fullmatch(text)
    if match is None or text.startswith("."):
        return None
    repository, revision = match["repository"], match["revision"]
    folder = fetch_files(repository, DESCRIPTION, revision)
    name = repository if revision is None else f"{repository}@{revision}"
    return Source(name, folder, repository, revision) if _is_transformers(folder) else None


def _is_transformers(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return (folder / ADAPTER).is_file()
    try:
        values = read_json(folder / CONFIG)
    except ContentError:
        return False
    return "format" not in values and ("model_type" in values or "architectures" in values)
