"""A model of the transformers library as it was named: a folder, perhaps of a hub repository."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.catalogue import fetch_files
from freeatten_core.models.format import CONFIG, FLOATS, check_floats

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

    def check_floats(self, parameters: Iterable[str]) -> None:
        """Whether the weights of parameters are floating-point numbers; masks and the like need not
        be. The library would take codes of eight bits for numbers.

        Args:
            parameters: the network's, by name; files can leave out how a name begins.

        Raises:
            ContentError: names the first that is of another type.
        """
        wanted = tuple(parameters)
        for path in sorted(path for pattern in WEIGHTS for path in self.folder.glob(pattern)):
            with safe_open(path, framework="pt") as file:
                types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  (not a dict)
            codes = {name: found for name, found in types.items() if found not in FLOATS}
            check_floats(path, {name: codes[name] for name in codes if _is_of(name, wanted)})

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


def _is_of(name: str, parameters: Iterable[str]) -> bool:
    """Whether a weight of a file is one of the parameters, with or without the model's prefix."""
    return any(
        name == each or each.endswith(f".{name}") or name.endswith(f".{each}")
        for each in parameters
    )
