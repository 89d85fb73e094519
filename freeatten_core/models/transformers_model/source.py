"""A model of the transformers library as it was named: a folder, perhaps of a hub repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.catalogue import fetch_files
from freeatten_core.models.format import CONFIG

__all__ = ["ADAPTER", "DESCRIPTION", "Source"]

ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
DESCRIPTION = (
    *(CONFIG, ADAPTER, INDEX, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
)
"""Everything that is read before the weights; small."""
WEIGHTS = ("model.safetensors", "model-*.safetensors")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Source:
    """A model as it was named, and the folder with its description."""

    name: str
    folder: Path
    repository: str | None = None
    revision: str | None = None
    form: str | None = None
    """How the weights were stored, where that was not in floating point."""

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
