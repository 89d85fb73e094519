"""A tokenizer of another model: ids, the bytes behind them, and what begins a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.basics.errors import ContentError
from freeatten_core.data.tokenizer import PROBE, encode, tokenizer_id

from .config import reason, require_transformers
from .source import Source

__all__ = ["Codec", "read_codec"]


@dataclass(frozen=True)
class Codec:
    """A tokenizer, and the ids that it puts before every text."""

    tokenizer: Tokenizer
    prefix: tuple[int, ...]

    @cached_property
    def id(self) -> str:
        """The same for tokenizers that cut every text alike."""
        return tokenizer_id(self.tokenizer)

    @cached_property
    def lossless(self) -> bool:
        """Whether the tokens are the text: case, accents, blanks and characters of 1 to 4 bytes."""
        ids = self.tokenizer.encode(PROBE, add_special_tokens=False).ids
        decoded: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return decoded == PROBE

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids of one text without the prefix, (tokens,)."""
        return encode(self.tokenizer, text)

    def ends(self, text: str) -> NDArray[np.int64]:
        """The byte of the text at which each token ends, (tokens,), never falling.

        A character cut into several tokens belongs to the last of them.
        """
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        characters = [len(character.encode()) for character in text]
        at = np.concatenate([[0], np.cumsum(characters, dtype=np.int64)])
        starts, ends = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
        whole = np.minimum(ends, np.append(starts[1:], len(text)))
        return np.asarray(np.maximum.accumulate(at[whole]), dtype=np.int64)


def read_codec(source: Source, vocab_size: int) -> Codec:
    """The tokenizer of a model of `vocab_size` ids.

    Raises:
        ContentError: none, one without offsets, or one with more ids than the model.
    """
    name, transformers = source.name, require_transformers()
    # by architecture the library would split the text of a converted model as another of its kind
    kind = "AutoTokenizer" if source.form is None else "PreTrainedTokenizerFast"
    try:
        found = getattr(transformers, kind).from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # the library raises whatever it meets
        raise ContentError(f"{name} has no tokenizer that can be read: {reason(error)}") from error
    tokenizer = getattr(found, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer) or not tokenizer.get_vocab_size():
        raise ContentError(f"{name} has no tokenizer.json, so the bytes of its tokens are unknown")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _check_vocabulary(name, tokenizer, vocab_size)
    return Codec(tokenizer, _prefix(tokenizer))


def _check_vocabulary(name: str, tokenizer: Tokenizer, vocab_size: int) -> None:
    # tokens added to a vocabulary can lie beyond the model's: a text that has one is refused
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= vocab_size:
        raise ContentError(
            f"{name}: its tokenizer has ids up to {largest:,}, its model {vocab_size:,} of them; "
            "it is another model's tokenizer"
        )


def _prefix(tokenizer: Tokenizer) -> tuple[int, ...]:
    def ids(special: bool) -> list[Any]:
        return list(tokenizer.encode("a", add_special_tokens=special).ids)

    plain, full = ids(False), ids(True)
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start])
    return ()
