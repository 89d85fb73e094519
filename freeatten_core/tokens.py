"""The tokenizer, and documents as token arrays on disk, ready to be trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .corpus import (
    Document,
    packages_to_json,
    stdlib_documents,
    training_documents,
    without_overlap,
)
from .errors import ContentError, UsageError
from .files import replacing_folder

TOKENIZER_BYTES = 24_000_000
"""Text that the tokenizer learns from, in equal shares of the sources."""
VALIDATION_SHARE = 50
"""One training document in this many is held back to choose learning rates and draw curves."""
BATCH_DOCUMENTS = 64
"""Encoded at the same time; an encoding takes many times the memory of its ids."""

Report = Callable[[str], None]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer: any text is some tokens, and decodes to itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> NDArray[np.int64]:
    """Token ids of one text, (tokens,)."""
    return np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[NDArray[np.int64]]:
    """Token ids of each text, on all cores; nothing else of an encoding is kept."""
    for start in range(0, len(texts), BATCH_DOCUMENTS):
        batch = list(texts[start : start + BATCH_DOCUMENTS])
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield np.asarray(encoding.ids, dtype=np.int64)


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """How many bytes of text each token stands for, (vocabulary,)."""
    vocabulary = tokenizer.get_vocab()
    lengths = np.zeros(1 + max(vocabulary.values()), dtype=np.int64)
    for token, index in vocabulary.items():
        lengths[index] = len(token)  # byte-level BPE writes every byte as one character
    return lengths


def tokenizer_id(tokenizer: Tokenizer) -> str:
    """The same for tokenizers that cut every text alike."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Tokens of one training source, documents end to end."""

    name: str
    tokens: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    """Tokens of each document."""
    validation_tokens: NDArray[np.uint16]
    validation_lengths: NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Prepared training text: `prepare` writes it, `load_corpus` reads it."""

    tokenizer: Tokenizer
    sources: tuple[Source, ...]
    about: Mapping[str, Any]
    """What it was made from: sources, packages with licences, files, dropped files."""


def window_starts(lengths: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int]:
    """Where windows of `size` tokens inside one document can start.

    Returns:
        The running count of such starts (documents + 1,), and their number.
    """
    per_document = np.maximum(lengths - size + 1, 0)
    running = np.concatenate([[0], np.cumsum(per_document)])
    return running, int(running[-1])


def window_offsets(
    lengths: NDArray[np.int64], running: NDArray[np.int64], drawn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions in the token array of the drawn starts (each below the number of starts)."""
    document = np.searchsorted(running, drawn, side="right") - 1
    first_token = np.cumsum(lengths) - lengths
    return first_token[document] + drawn - running[document]


def prepare(
    sources: Sequence[str],
    folder: Path,
    *,
    vocab_size: int,
    tokenizer: Tokenizer | None = None,
    report: Report = lambda _: None,
) -> Corpus:
    """Read, filter and tokenize training text into `folder`.

    Args:
        sources: `packages`, files or folders; every batch takes equal shares of them.
        folder: written whole or not at all; an earlier corpus there is replaced.
        vocab_size: of the tokenizer that is trained on the training part; at most 65,536.
        tokenizer: use this one instead of training one.
        report: called with a line on each step.

    Raises:
        UsageError: `folder` holds something else, or a source has no text to train on.
        ContentError: the disk is full or the folder cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "corpus.json").is_file():
        raise UsageError(f"{folder} holds other files; name a folder that does not exist")
    held_out = list(stdlib_documents())
    about: list[dict[str, Any]] = []
    training: list[list[Document]] = []
    validation: list[list[Document]] = []
    for name in sources:
        documents, packages = training_documents(name)
        kept, dropped = without_overlap(documents, held_out)
        if not kept:
            raise UsageError(
                f"every file of {name} repeats the standard library; nothing to train on"
            )
        report(f"{name}: {len(kept)} files kept, {len(dropped)} dropped as near copies")
        for near_copy in dropped:
            report(f"  dropped {near_copy}")
        held_back = [document for document in kept if _is_validation(document)] or kept[-1:]
        names = {document.name for document in held_back}
        training.append([d for d in kept if d.name not in names] or kept)
        validation.append(held_back)
        about.append(
            {
                "source": Path(name).name,
                "files": len(kept),
                "bytes": sum(len(document.text.encode()) for document in kept),
                "dropped": len(dropped),
                "packages": packages_to_json(packages),
                "documents": [] if packages else [document.name for document in kept],
            }
        )
    if tokenizer is None:
        tokenizer = train_tokenizer(_shares(training), vocab_size)
        report(f"tokenizer: {tokenizer.get_vocab_size()} tokens")
    with replacing_folder(folder) as temporary:
        for index, (train_part, validation_part) in enumerate(
            zip(training, validation, strict=True)
        ):
            tokens = _write_tokens(temporary / f"{index}.train", tokenizer, train_part)
            _write_tokens(temporary / f"{index}.validation", tokenizer, validation_part)
            about[index]["tokens"] = tokens
            report(f"{about[index]['source']}: {tokens:,} tokens")
        try:
            tokenizer.save(str(temporary / "tokenizer.json"))
        except Exception as error:  # the library's type for a full disk
            raise ContentError(f"cannot write {folder}: {error}") from error
        (temporary / "corpus.json").write_text(json.dumps({"sources": about}))
    return load_corpus(folder)


def load_corpus(folder: Path) -> Corpus:
    """Read what `prepare` wrote.

    Raises:
        ContentError: the folder is not a prepared corpus.
    """
    try:
        about = json.loads((folder / "corpus.json").read_text())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        sources = tuple(
            Source(
                entry["source"],
                *_read_tokens(folder / f"{index}.train"),
                *_read_tokens(folder / f"{index}.validation"),
            )
            for index, entry in enumerate(about["sources"])
        )
    except Exception as error:  # the tokenizer library raises plain Exception
        raise ContentError(f"{folder} is not a prepared corpus: {error}") from error
    return Corpus(tokenizer, sources, about)


def _is_validation(document: Document) -> bool:
    digest = hashlib.sha256(document.name.encode()).digest()
    return int.from_bytes(digest[:8]) % VALIDATION_SHARE == 0


def _shares(groups: Sequence[Sequence[Document]]) -> Iterator[str]:
    """Texts of every source up to its share of TOKENIZER_BYTES, spread over its documents."""
    share = TOKENIZER_BYTES // len(groups)
    for documents in groups:
        whole = sum(len(document.text) for document in documents)
        stride = max(1, whole // share)
        for document in documents[::stride]:
            yield document.text


def _write_tokens(stem: Path, tokenizer: Tokenizer, documents: Sequence[Document]) -> int:
    lengths: list[int] = []
    with stem.with_suffix(stem.suffix + ".tokens").open("wb") as file:
        for ids in encode_all(tokenizer, [document.text for document in documents]):
            lengths.append(len(ids))
            file.write(ids.astype(np.uint16).tobytes())
    np.save(stem.with_suffix(stem.suffix + ".lengths.npy"), np.asarray(lengths, dtype=np.int64))
    return sum(lengths)


def _read_tokens(stem: Path) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    tokens = np.fromfile(stem.with_suffix(stem.suffix + ".tokens"), dtype=np.uint16)
    lengths = np.load(stem.with_suffix(stem.suffix + ".lengths.npy"), allow_pickle=False)
    if lengths.sum() != len(tokens):
        raise ValueError(f"{stem.name}.tokens has {len(tokens)} of {lengths.sum()} tokens")
    return tokens, lengths
