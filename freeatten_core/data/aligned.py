"""Texts for models with different tokenizers: the same characters on, each cut as its own does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .documents import Document
from .selection import Selection, Text, check_drawing, distinct, too_short
from .tokenizer import encode, encode_all

__all__ = ["Cut", "select_aligned"]


@dataclass(frozen=True)
class Cut:
    """A tokenizer, and what gives the byte at which each token of a text ends, if anything does."""

    tokenizer: Tokenizer
    ends: Callable[[str], NDArray[np.int64]] | None


def select_aligned(
    documents: Sequence[Document],
    cuts: Sequence[Cut],
    longest: int,
    count: int | None,
    seed: int,
    *,
    step: int = 1,
) -> list[Selection]:
    """Draw texts of `longest + 1` tokens of every tokenizer, each from one document.

    The tokenizers' texts of a document begin at the same character and end where their tokens do.
    `Text.counted` are the targets within the bytes that all have, `Text.bytes` what those spell.

    Args:
        count: how many at most; None for all that qualify.
        step: what every longest length is a multiple of, for the message of what would fit.

    Returns:
        A selection for each of `cuts`, of the same documents.

    Raises:
        UsageError: no document is long enough for every tokenizer.
    """
    check_drawing(longest, count, seed)
    different = distinct(documents)
    # a token is at least one byte, so shorter documents cannot qualify
    candidates = [d for d in different if len(d.text.encode()) > longest]
    contents = [document.text for document in candidates]
    enough = np.ones(len(candidates), dtype=bool)
    for cut in cuts:
        enough &= [len(tokens) > longest for tokens in encode_all(cut.tokenizer, contents)]
    long_enough = [document for document, fits in zip(candidates, enough, strict=True) if fits]
    if not long_enough:
        coarsest = min(cuts, key=lambda cut: _longest(documents, cut))
        raise too_short(documents, coarsest.tokenizer, longest, step)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(long_enough))[:count]
    drawn = [long_enough[index] for index in order]
    rows = [_texts(document, cuts, longest, rng) for document in drawn]
    repeats = len(documents) - len(different)
    return [
        Selection(list(texts), len(documents), len(long_enough), drawn, repeats)
        for texts in zip(*rows, strict=True)
    ]


def _longest(documents: Sequence[Document], cut: Cut) -> int:
    """Tokens of the longest document."""
    content = max((document.text for document in documents), key=len, default="")
    return len(encode(cut.tokenizer, content))


def _texts(
    document: Document, cuts: Sequence[Cut], longest: int, rng: np.random.Generator
) -> list[Text]:
    """The text of every tokenizer, from one character on."""
    starts = [_starts(cut.tokenizer, document.text) for cut in cuts]
    last = min(each[len(each) - longest - 1] for each in starts)
    possible = starts[0][starts[0] <= last]
    begin = int(possible[rng.integers(0, len(possible))])
    rest = document.text[begin:]
    tokens = [encode(cut.tokenizer, rest) for cut in cuts]
    if any(len(each) <= longest for each in tokens):  # cut there, some texts have fewer tokens
        rest = document.text
        tokens = [encode(cut.tokenizer, rest) for cut in cuts]
    texts = [Text(document.name, each[: longest + 1]) for each in tokens]
    ends = [None if cut.ends is None else cut.ends(rest)[: longest + 1] for cut in cuts]
    known = [each for each in ends if each is not None]
    if not known:
        return texts
    first, end = max(each[0] for each in known), min(each[-1] for each in known)
    return [
        text if at is None else _counted(text, at, first, end)
        for text, at in zip(texts, ends, strict=True)
    ]


def _counted(text: Text, ends: NDArray[np.int64], first: int, end: int) -> Text:
    """The text with its targets that lie wholly between two bytes."""
    inside = np.flatnonzero((ends[:-1] >= first) & (ends[1:] <= end))
    begin, stop = int(inside[0]), int(inside[-1]) + 1
    return replace(text, counted=(begin, stop), bytes=int(ends[stop] - ends[begin]))


def _starts(tokenizer: Tokenizer, text: str) -> NDArray[np.int64]:
    """The character at which each token begins."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return np.asarray(offsets, dtype=np.int64).reshape(-1, 2)[:, 0]
