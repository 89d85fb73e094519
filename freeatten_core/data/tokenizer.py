"""A tokenizer: trained, read, applied, told from others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from freeatten_core.basics.errors import ContentError

__all__ = [
    "PROBE",
    "TOKENIZER_BYTES",
    "encode",
    "encode_all",
    "read_tokenizer",
    "token_bytes",
    "token_texts",
    "tokenizer_id",
    "train_tokenizer",
]

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


def read_tokenizer(path: Path) -> Tokenizer:
    """Read `tokenizer.json`, of a tokenizer whose tokens are the text, whole and alone.

    Raises:
        ContentError: not a tokenizer file, or one that cuts, pads, changes or draws.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for any bad file
        raise ContentError(f"{path} is not a tokenizer file: {error}") from error
    if tokenizer.truncation is not None:
        raise ContentError(
            f"{path} truncates every text to {tokenizer.truncation['max_length']} tokens; save it "
            "after tokenizer.no_truncation()"
        )
    if tokenizer.padding is not None:
        raise ContentError(f"{path} pads texts; save it after tokenizer.no_padding()")
    dropout = getattr(tokenizer.model, "dropout", None)
    if dropout:
        raise ContentError(
            f"{path} has a dropout of {dropout:g}, so that a text has other tokens each time; "
            "save it with none"
        )
    if not _is_lossless(tokenizer):
        raise ContentError(
            f"{path} does not give back a text byte for byte, so losses would be of another text; "
            "it must be a byte-level BPE without a normaliser"
        )
    return tokenizer


def _is_lossless(tokenizer: Tokenizer) -> bool:
    encoding = tokenizer.encode(PROBE, add_special_tokens=False)
    as_bytes = sum(map(len, encoding.tokens))  # a byte-level token has a character for every byte
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    return decoded == PROBE and as_bytes == len(PROBE.encode())


def encode(tokenizer: Tokenizer, text: str) -> NDArray[np.int64]:
    """Token ids of one text, (tokens,)."""
    return np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[NDArray[np.int64]]:
    """Token ids of each text, on all cores; nothing else of an encoding is kept."""
    for start in range(0, len(texts), BATCH_DOCUMENTS):
        batch = list(texts[start : start + BATCH_DOCUMENTS])
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield np.asarray(encoding.ids, dtype=np.int64)


def token_texts(tokenizer: Tokenizer, ids: NDArray[np.int64], start: int, stop: int) -> list[str]:
    """The text of the tokens start…stop of `ids`, (L,), as a reader can tell them apart.

    A token that holds a part of a character names it and the bytes that it holds: the three of
    部 are ⟨部 1/3⟩, ⟨部 2/3⟩ and ⟨部 3/3⟩. Bytes that are of no character are in hex: ⟨e9⟩.
    """
    first = max(start - SPREAD, 0)
    around = ids[first : stop + SPREAD].tolist()
    texts = [tokenizer.decode([each]) for each in around]
    for is_broken, run in groupby(range(len(texts)), key=lambda at: UNREADABLE in texts[at]):
        if is_broken:
            places = list(run)
            pieces = [_bytes_of(tokenizer, around[at]) for at in places]
            for at, text in zip(places, _parts(pieces), strict=True):
                texts[at] = text
    return texts[start - first : stop - first]


def _bytes_of(tokenizer: Tokenizer, index: int) -> bytes:
    """Of a token that is no text by itself: byte-level, or a byte that is written as `<0xE9>`."""
    piece = tokenizer.id_to_token(index) or ""
    if found := BYTE_PIECE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    if all(character in BYTE_OF for character in piece):
        return bytes(BYTE_OF[character] for character in piece)
    return tokenizer.decode([index]).encode()


def _parts(pieces: Sequence[bytes]) -> list[str]:
    """What each piece holds of the characters that all of them make."""
    data = b"".join(pieces)
    holder = [at for at, piece in enumerate(pieces) for _ in piece]
    texts = [""] * len(pieces)
    place = 0
    while place < len(data):
        character, size = _character(data, place)
        for at, held in groupby(range(place, place + size), key=holder.__getitem__):
            numbers = [byte - place + 1 for byte in held]
            texts[at] += _part(character, numbers, size) if character else f"⟨{data[place]:02x}⟩"
        place += size
    return texts


def _character(data: bytes, place: int) -> tuple[str, int]:
    """The character that begins there and how many bytes it has; no character is one byte."""
    for size in range(1, SPREAD + 2):
        try:
            return data[place : place + size].decode(), size
        except UnicodeDecodeError:
            continue
    return "", 1


def _part(character: str, numbers: Sequence[int], size: int) -> str:
    if len(numbers) == size:
        return character
    held = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
    return f"⟨{character} {held}/{size}⟩"


def _byte_level() -> dict[str, int]:
    """Byte-level BPE writes a byte as itself where it can be seen, else as the next above 255."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    written = {chr(byte): byte for byte in seen}
    return written | {chr(256 + at): byte for at, byte in enumerate(unseen)}


UNREADABLE = "\ufffd"
"""What a decoder makes of bytes that are no text."""
SPREAD = 3
"""Tokens before and behind one that can hold the rest of its character: UTF-8 has four bytes."""
BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")
BYTE_OF = _byte_level()


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
