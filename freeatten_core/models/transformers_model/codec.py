"""Reading the tokenizer of another model."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.codec import Codec

from .config import reason, require_transformers
from .source import Source

__all__ = ["read_codec"]

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of them at least is the tokenizer."""


def read_codec(source: Source, vocab_size: int) -> Codec:
    """The tokenizer of a model of `vocab_size` ids.

    Raises:
        ContentError: none, one without offsets, or one with more ids than the model.
    """
    name, transformers = source.name, require_transformers()
    if not any((source.folder / file).is_file() for file in TOKENIZERS):
        raise ContentError(
            f"{name} has no tokenizer; it must have {' or '.join(TOKENIZERS)} beside its weights"
        )
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
