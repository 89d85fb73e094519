"""GGUF files: their weights dequantised once, into a folder of the cache, and read from there.

The folder is named by the file's contents, so a file that changes is converted anew.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from freeatten_core.basics.assets import cache
from freeatten_core.basics.errors import ContentError, UsageError, reason_of
from freeatten_core.basics.files import locked, replacing_folder, write_utf8
from freeatten_core.models.format import read_json

from .config import (
    check_complete,
    check_memory,
    check_sizes,
    forecast,
    quiet,
    reason,
    require_transformers,
)
from .pre_tokenizers import set_pre_tokenizer

__all__ = ["SUFFIX", "bytes_to_write", "config_of", "conversion", "converted", "form_of"]

SUFFIX = ".gguf"
FORM = "gguf.json"
"""What a converted folder says of the file that it was made from."""
VERSION = 1
"""Of the conversion; folders of others are made anew."""
SIZES = {
    "block_count": "num_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
}
"""Keys of a file's header, by what a configuration calls the same."""


def converted(path: Path) -> Path:
    """The folder with the model of a GGUF file in float32, made if it is not there.

    Raises:
        UsageError: the libraries that read it are missing, or another process is making it.
        ContentError: no GGUF file of a causal model whose architecture and tokenizer are known, or
            no room for it.
    """
    folder = _place(path)
    if folder.is_dir():
        return folder
    busy = f"{path} is being converted by another process; try again when it is done"
    with locked(folder, busy), quiet():
        if not folder.is_dir():
            _convert(path, folder)
    return folder


def conversion(path: Path) -> str | None:
    """What is about to be written for a GGUF file; None where it is converted already.

    Raises:
        UsageError, ContentError: as `converted`.
    """
    size = bytes_to_write(path)
    if size is None:
        return None
    return f"{path} is converted once: {size / 1e9:.1f} GB in {_place(path)}"


def bytes_to_write(path: Path) -> int | None:
    """What the conversion of a GGUF file takes of the disk; None where it is converted already.

    Raises:
        UsageError, ContentError: as `converted`.
    """
    folder = _place(path)
    return None if folder.is_dir() else _bytes(path, folder)


def config_of(path: Path) -> Any:
    """The configuration of a GGUF file, an object of transformers, from its header.

    Raises:
        UsageError, ContentError: as `converted`.
    """
    _check_header(path, _header(path))
    return _read(path, "AutoConfig")


def form_of(folder: Path) -> str | None:
    """How the weights of a converted folder were stored, such as `GGUF Q4_1, dequantised`."""
    if not (folder / FORM).is_file():
        return None
    return str(read_json(folder / FORM)["form"])


def _place(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}") from error
    return cache() / "gguf" / f"{path.stem}-{digest[:16]}-{VERSION}"


def _require_libraries() -> Any:
    """The library's reader of headers.

    Raises:
        UsageError: a library is missing or too old; says how to install it.
    """
    require_transformers()
    try:
        import accelerate  # noqa: F401  (transformers needs both, and says so late)
        import gguf  # noqa: F401  (as above)
        from transformers.integrations.gguf import read_gguf_metadata
    except ImportError as error:
        raise UsageError(
            "GGUF files need the libraries accelerate, gguf and transformers 5.23 or newer: "
            "pip install 'freeatten[models]'"
        ) from error
    return read_gguf_metadata


@lru_cache(maxsize=16)
def _bytes(path: Path, folder: Path) -> int:  # noqa: ARG001  (its name is the file's contents)
    """Of the weights in float32; takes seconds where the vocabulary is large."""
    _header(path)
    from gguf import GGUFReader

    try:
        sizes = [int(tensor.n_elements) for tensor in GGUFReader(path).tensors]
    except Exception as error:  # the library raises whatever it meets
        raise ContentError(f"{path} is not a whole GGUF file: {reason(error)}") from error
    return 4 * sum(sizes)


def _header(path: Path) -> dict[str, Any]:
    """What a file says of itself."""
    read_metadata = _require_libraries()
    try:
        found: dict[str, Any] = read_metadata(str(path))[0]
    except Exception as error:  # the library raises whatever it meets
        raise ContentError(f"{path} is not a whole GGUF file: {reason(error)}") from error
    return found


def _check_header(path: Path, metadata: dict[str, Any]) -> None:
    """Raises ContentError where a size cannot be meant."""
    architecture = str(metadata["general.architecture"])
    check_sizes(
        str(path),
        {
            ours: metadata[f"{architecture}.{theirs}"]
            for theirs, ours in SIZES.items()
            if f"{architecture}.{theirs}" in metadata
        },
    )


def _convert(path: Path, folder: Path) -> None:
    metadata = _header(path)
    _check_header(path, metadata)
    needed = _bytes(path, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ContentError(
            f"{path} takes {needed / 1e9:,.1f} GB once it is converted; {free / 1e9:,.1f} GB are "
            f"free in {folder.parent}"
        )
    config = _read(path, "AutoConfig")
    check_memory(str(path), forecast(str(path), config))
    tokenizer = _read(path, "PreTrainedTokenizerFast")
    set_pre_tokenizer(tokenizer, str(path), metadata)
    with _without_bar():
        network, report = _read(
            path,
            "AutoModelForCausalLM",
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
        )
    check_complete(str(path), report)
    for holder, name in ((network, "hf_quantizer"), (network.config, "quantization_config")):
        if hasattr(holder, name):  # the weights are dequantised; else they are not saved
            delattr(holder, name)
    with replacing_folder(folder) as temporary:
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        about = {"source": path.name, "form": f"GGUF {_quantisation(metadata)}, dequantised"}
        write_utf8(temporary / FORM, json.dumps(about, indent=2) + "\n")


@contextmanager
def _without_bar() -> Iterator[None]:
    """Without the bar of the tensors, which the library draws whatever its own setting is."""
    module: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    own = module.tqdm
    module.tqdm = partial(own, disable=True)
    try:
        yield
    finally:
        module.tqdm = own


def _read(path: Path, kind: str, **others: Any) -> Any:
    transformers = require_transformers()
    try:
        return getattr(transformers, kind).from_pretrained(
            path.parent,
            gguf_file=path.name,
            trust_remote_code=False,
            local_files_only=True,
            **others,
        )
    except Exception as error:  # the library raises whatever it meets
        if isinstance(error, MemoryError):
            raise
        raise ContentError(f"{path} cannot be converted: {reason(error)}") from error


def _quantisation(metadata: dict[str, Any]) -> str:
    """The name of what most weights were stored as, such as Q4_K_M."""
    from gguf import LlamaFileType

    try:
        return LlamaFileType(metadata["general.file_type"]).name.removeprefix("MOSTLY_")
    except (KeyError, ValueError):
        return "of an unnamed type"
