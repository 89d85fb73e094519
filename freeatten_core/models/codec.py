"""A model's tokenizer: ids, the bytes behind them, and what begins a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.data.tokenizer import PROBE, encode, tokenizer_id

__all__ = ["Codec"]


@dataclass(frozen=True)
class Codec:
    """A tokenizer, and the ids that it puts before every text."""

    tokenizer: Tokenizer
    prefix: tuple[int, ...] = ()
    spells: bool = False
    """Whether the bytes of a text are those that its tokens spell, as in this project's own."""

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
