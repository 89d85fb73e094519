"""A tokenizer: trained, applied, told from others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TOKENIZER_BYTES = 24_000_000
"""Text that the tokenizer learns from, in equal shares of the sources."""

PROBE = "if x:\n\treturn  'Été, 漢字, 🐈'  # ½\r\n\n"
"""What a tokenizer must give back: case, accents, blanks, and characters of 1 to 4 bytes."""

BATCH_DOCUMENTS = 64
"""Encoded at the same time; an encoding takes many times the memory of its ids."""


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
