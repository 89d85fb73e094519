"""The texts drawn for an evaluation, the same for every length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.basics.checks import check_whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.seeds import check_seed

from .documents import Document
from .tokenizer import encode, encode_all

__all__ = [
    "Selection",
    "Text",
    "check_drawing",
    "distinct",
    "select_one",
    "select_prefix",
    "select_texts",
    "tokens_digest",
    "too_short",
]

REACHES = tuple(512 * 2**power for power in range(6, -1, -1))
"""Lengths that one text is read at, the longest first."""


@dataclass(frozen=True)
class Text:
    """`M + 1` tokens of one document."""

    name: str
    tokens: NDArray[np.int64]
    bytes: int | None = None
    """Of its targets that count, where ends of tokens were asked for."""
    counted: tuple[int, int] | None = None
    """The targets that count for bits per byte, from and up to; None for all."""


@dataclass(frozen=True)
class Selection:
    """Texts drawn for an evaluation, and from how many."""

    texts: list[Text]
    files: int
    qualifying: int
    documents: list[Document]
    """The documents that the texts are from, in the same order."""
    repeats: int = 0
    """Files left out because another has the same text."""

    @property
    def digest(self) -> str:
        """SHA-256 of the tokens of all texts."""
        return tokens_digest(text.tokens for text in self.texts)

    def facts(self, source: str) -> dict[str, str | int]:
        """What a result says of the drawing, by the name of the source."""
        return {
            "source": source,
            "files": self.files,
            "qualifying": self.qualifying,
            "repeats": self.repeats,
        }


def tokens_digest(sequences: Iterable[NDArray[np.int64]]) -> str:
    """SHA-256 of the tokens of several sequences, one after the other."""
    digest = hashlib.sha256()
    for tokens in sequences:
        digest.update(tokens.tobytes())
    return digest.hexdigest()


def select_texts(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    longest: int,
    count: int | None,
    seed: int,
    *,
    step: int = 1,
    ends: Callable[[str], NDArray[np.int64]] | None = None,
) -> Selection:
    """Draw texts of `longest + 1` tokens, each from one document.

    Documents of the same text count once, as the first of them: intervals are over texts that are
    independent.

    Args:
        count: how many at most; None for all that qualify.
        step: what every longest length is a multiple of, for the message of what would fit.
        ends: gives the byte at which each token of a text ends.

    Raises:
        UsageError: no document is long enough; says how long the longest is and what would fit.
    """
    check_drawing(longest, count, seed)
    different = distinct(documents)
    # a token is at least one byte, so shorter documents cannot qualify
    candidates = [d for d in different if len(d.text.encode()) > longest]
    encoded = encode_all(tokenizer, [document.text for document in candidates])
    long_enough = [
        (document, tokens)
        for document, tokens in zip(candidates, encoded, strict=True)
        if len(tokens) > longest
    ]
    if not long_enough:
        raise too_short(documents, tokenizer, longest, step)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(long_enough))[:count]
    texts, drawn = [], []
    for index in order:
        document, tokens = long_enough[index]
        start = int(rng.integers(0, len(tokens) - longest))
        drawn_tokens = tokens[start : start + longest + 1]
        at = None if ends is None else ends(document.text)[start : start + longest + 1]
        size = None if at is None else int(at[-1] - at[0])
        texts.append(Text(document.name, drawn_tokens, size))
        drawn.append(document)
    repeats = len(documents) - len(different)
    return Selection(texts, len(documents), len(long_enough), drawn, repeats)


def select_prefix(
    documents: Sequence[Document], tokenizer: Tokenizer, length: int, seed: int
) -> Text:
    """The first `length` tokens of a text that is the same one at every length up to 32,768.

    It is of one of the documents that hold the largest of 512, 1024, … 32,768 tokens that any of
    them does, and begins with its document unless that is longer than 32,768 tokens.

    Args:
        length: in tokens, at least 1.
        seed: which document, and where in it the text begins.

    Raises:
        UsageError: no document is long enough; says how long the longest is.
    """
    check_whole("length", length, 1, None)
    check_seed(seed)
    rng = np.random.default_rng(seed)
    different = distinct(documents)
    order = [different[index] for index in rng.permutation(len(different))]
    encoded = lru_cache(maxsize=None)(lambda text: encode(tokenizer, text))
    for reach in [*(reach for reach in REACHES if reach > length), length]:
        for document in order:
            # a token is at least one byte, so shorter documents cannot hold as many
            if len(document.text.encode()) < reach or len(encoded(document.text)) < reach:
                continue
            tokens = encoded(document.text)
            start = int(rng.integers(max(0, len(tokens) - REACHES[0]) + 1))
            return Text(document.name, tokens[start : start + length])
    raise too_short(documents, tokenizer, length - 1, 1)


def select_one(
    documents: Sequence[Document], tokenizer: Tokenizer, length: int, seed: int
) -> Selection:
    """The text of `select_prefix`, and from how many files it was drawn.

    Raises:
        UsageError: no document is long enough; says how long the longest is and what would fit.
    """
    found = select_texts(documents, tokenizer, length - 1, None, seed)
    text = select_prefix(documents, tokenizer, length, seed)
    document = next(each for each in found.documents if each.name == text.name)
    return replace(found, texts=[text], documents=[document])


def check_drawing(longest: int, count: int | None, seed: int) -> None:
    """Whether texts can be drawn so.

    Raises:
        UsageError: names the argument.
    """
    check_whole("longest", longest, 0, None)
    check_seed(seed)
    if count is not None:
        check_whole("count", count, 1, None)


def distinct(documents: Sequence[Document]) -> list[Document]:
    """Documents of the same text once, as the first of them."""
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.sha256, document)
    return list(first.values())


def too_short(
    documents: Sequence[Document], tokenizer: Tokenizer, longest: int, step: int
) -> UsageError:
    """That no document has `longest + 1` tokens, and what would fit."""
    if not documents:
        return UsageError("there is no text to score: no file was found")
    longest_document = max(documents, key=lambda document: len(document.text))
    found = len(encode(tokenizer, longest_document.text))
    which = longest_document.name if len(documents) == 1 else f"the longest of {len(documents)}"
    fits = max(0, found - 1) // step * step
    return UsageError(
        f"the text is too short: {which} has {found:,} tokens and {longest + 1:,} are needed; "
        "give a longer text" + (f", or --len {fits} or less" if fits else "")
    )
