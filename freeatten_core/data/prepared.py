"""The tokenizer, and documents as token arrays on disk, ready to be trained on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import locked, replacing_folder, write_utf8
from freeatten_core.basics.kept import differences

from .documents import Document, digest, stdlib_documents
from .overlap import without_overlap
from .packages import Package, packages_to_json, training_documents
from .tokenizer import TOKENIZER_BYTES, encode_all, tokenizer_id, train_tokenizer

__all__ = [
    "Corpus",
    "Source",
    "check_replaceable",
    "is_corpus",
    "load_corpus",
    "prepare",
    "prepared",
    "remove_corpus",
    "window_offsets",
    "window_starts",
]

VALIDATION_SHARE = 50
"""One training document in this many is held back to choose learning rates and draw curves."""
MOST_TOKENS = 1 << 16
"""Of a vocabulary: prepared text has two bytes a token."""
FORMAT = 1
"""Of a prepared corpus: to be raised when the same texts would become other tokens."""

ABOUT, TOKENIZER = "corpus.json", "tokenizer.json"
_MADE = re.compile(
    rf"{re.escape(ABOUT)}|{re.escape(TOKENIZER)}|\d+\.(train|validation)\.(tokens|lengths\.npy)"
)
"""Names of the files of a prepared corpus."""

Report = Callable[[str], None]


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
    """What it was made from and how, with digests: `prepare` says what is in it."""


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

    Its `corpus.json`, which becomes the `about` of what is returned, says what it was made from:
    `format`, `vocab_size` (None for a given tokenizer), `tokenizer` (its id), `standard_library`
    (a digest of it, whose near copies are dropped) and `sources`, of each `source` (its name),
    `sha256` (of all texts that were read), `files` and `bytes` (kept), `dropped`, `near_copies`
    (by the name of what was dropped, what it repeats), `packages`, `documents` and `tokens`.

    Args:
        sources: `packages`, files or folders; every batch takes equal shares of them.
        folder: written whole or not at all; an earlier corpus there is replaced.
        vocab_size: of the tokenizer that is trained on the training part; at most 65,536.
        tokenizer: use this one instead of training one.
        report: called with a line on each step.

    Raises:
        UsageError: `folder` holds something else, a source has no text to train on, or another
            call writes there.
        ContentError: the disk is full or the folder cannot be written.
    """
    check_replaceable(folder)
    texts, held_out = _read(sources), list(stdlib_documents())
    with _locked(folder):
        return _prepare(texts, held_out, folder, vocab_size, tokenizer, report)


def prepared(
    sources: Sequence[str],
    folder: Path,
    *,
    vocab_size: int,
    tokenizer: Tokenizer | None = None,
    replace: bool = False,
    report: Report = lambda _: None,
) -> Corpus:
    """What `folder` keeps, if these texts were prepared like this, otherwise `prepare`.

    Args:
        vocab_size, tokenizer: as for `prepare`.
        replace: prepare anew what is of other texts or another vocabulary.

    Raises:
        UsageError: it keeps something else, named, and is not to be replaced; otherwise as
            `prepare`.
        ContentError: as `prepare` and `load_corpus`.
    """
    check_replaceable(folder)
    texts, held_out = _read(sources), list(stdlib_documents())
    cut = (
        {"vocab_size": vocab_size} if tokenizer is None else {"tokenizer": tokenizer_id(tokenizer)}
    )
    asked: dict[str, Any] = {
        **cut,
        "standard_library": {"sha256": digest(held_out)},
        "sources": [text.identity() for text in texts],
    }
    found = _matching(folder, asked, replace)
    if found is None:
        with _locked(folder):  # until it is held, another call may have prepared the same
            found = _matching(folder, asked, replace)
            if found is None:
                found = _prepare(texts, held_out, folder, vocab_size, tokenizer, report)
    return found


def load_corpus(folder: Path) -> Corpus:
    """Read what `prepare` wrote.

    Raises:
        ContentError: the folder is not a prepared corpus.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about.get("format") != FORMAT:
            raise ValueError("another version wrote it; remove it to prepare the text again")
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        if about["tokenizer"] != tokenizer_id(tokenizer):
            raise ValueError(f"{TOKENIZER} is not the one it was prepared with")
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


def remove_corpus(folder: Path) -> None:
    """Remove what `prepare` made, and nothing else that is there."""
    if is_corpus(folder):
        shutil.rmtree(folder, ignore_errors=True)


def is_corpus(folder: Path) -> bool:
    """Whether a folder holds a prepared corpus and nothing else."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return ABOUT in names and all(_MADE.fullmatch(name) for name in names)


def check_replaceable(folder: Path) -> None:
    """Whether `prepare` may write there.

    Raises:
        UsageError: the folder holds something that it did not make.
    """
    if folder.is_dir() and any(folder.iterdir()) and not is_corpus(folder):
        raise UsageError(f"{folder} holds other files; name a folder that does not exist")


@dataclass(frozen=True)
class _Text:
    """A source as it is read, before near copies are dropped."""

    name: str
    """As it was given."""
    documents: list[Document]
    packages: list[Package]

    def identity(self) -> dict[str, Any]:
        return {"source": Path(self.name).name, "sha256": digest(self.documents)}


def _read(sources: Sequence[str]) -> list[_Text]:
    return [_Text(name, *training_documents(name)) for name in sources]


def _locked(folder: Path) -> AbstractContextManager[None]:
    return locked(folder, f"another call prepares text in {folder}; wait until it has")


def _matching(folder: Path, asked: Mapping[str, Any], replace: bool) -> Corpus | None:
    """What `folder` keeps, if it was made as asked; None if it is to be made."""
    if not (folder / ABOUT).is_file():
        return None
    try:
        corpus = load_corpus(folder)
    except ContentError:
        if replace:
            return None
        raise
    kept: dict[str, Any] = {key: corpus.about.get(key) for key in asked}
    kept["sources"] = [
        {key: entry.get(key) for key in ("source", "sha256")} for entry in corpus.about["sources"]
    ]
    differing = differences(kept, asked)
    if not differing:
        return corpus
    if replace:
        return None
    raise UsageError(
        f"{folder} keeps text that was prepared otherwise: {differing}; ask for the same, "
        "name another place, or remove it to start again"
    )


def _prepare(
    texts: Sequence[_Text],
    held_out: Sequence[Document],
    folder: Path,
    vocab_size: int,
    given: Tokenizer | None,
    report: Report,
) -> Corpus:
    if given is not None and given.get_vocab_size() > MOST_TOKENS:
        raise UsageError(
            f"the tokenizer has {given.get_vocab_size():,} tokens; text is kept in two bytes a "
            f"token, so it must have at most {MOST_TOKENS:,}"
        )
    entries: list[dict[str, Any]] = []
    training: list[list[Document]] = []
    validation: list[list[Document]] = []
    for text in texts:
        kept, entry = _kept(text, held_out, report)
        held_back = [document for document in kept if _is_validation(document)] or kept[-1:]
        names = {document.name for document in held_back}
        training.append([d for d in kept if d.name not in names] or kept)
        validation.append(held_back)
        entries.append(entry)
    tokenizer = given
    if tokenizer is None:
        tokenizer = train_tokenizer(_shares(training), vocab_size)
        report(f"tokenizer: {tokenizer.get_vocab_size()} tokens")
    about = {
        "format": FORMAT,
        "vocab_size": vocab_size if given is None else None,
        "tokenizer": tokenizer_id(tokenizer),
        "standard_library": {"sha256": digest(held_out)},
        "sources": entries,
    }
    with replacing_folder(folder, is_corpus) as temporary:
        for index, (train_part, validation_part) in enumerate(
            zip(training, validation, strict=True)
        ):
            tokens = _write_tokens(temporary / f"{index}.train", tokenizer, train_part)
            _write_tokens(temporary / f"{index}.validation", tokenizer, validation_part)
            entries[index]["tokens"] = tokens
            report(f"{entries[index]['source']}: {tokens:,} tokens")
        try:
            tokenizer.save(str(temporary / TOKENIZER))
        except Exception as error:  # the library's type for a full disk
            raise ContentError(f"cannot write {folder}: {error}") from error
        write_utf8(temporary / ABOUT, json.dumps(about))
    return load_corpus(folder)


def _kept(
    text: _Text, held_out: Sequence[Document], report: Report
) -> tuple[list[Document], dict[str, Any]]:
    """The documents to train on, and what `corpus.json` says of their source."""
    kept, near_copies = without_overlap(text.documents, held_out)
    if not kept:
        name, of = next(iter(near_copies.items()))
        raise UsageError(
            f"every file of {text.name} repeats the standard library ({name} is a near copy of "
            f"{of}); nothing to train on"
        )
    dropped = len(text.documents) - len(kept)
    report(
        f"{text.name}: {len(kept):,} files kept, {dropped:,} dropped as near copies of the "
        f"standard library{' (curve.json will list them)' if near_copies else ''}"
    )
    return kept, {
        **text.identity(),
        "files": len(kept),
        "bytes": sum(len(document.text.encode()) for document in kept),
        "dropped": dropped,
        "near_copies": near_copies,
        "packages": packages_to_json(text.packages),
        "documents": [] if text.packages else [document.name for document in kept],
    }


def _is_validation(document: Document) -> bool:
    name = document.name.encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) % VALIDATION_SHARE == 0


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
