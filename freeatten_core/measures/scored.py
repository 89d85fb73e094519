"""What a caller gives to be scored, checked before and while a model reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.checks import check_list, check_whole, described
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tokenizer import encode
from freeatten_core.models.interface import LanguageModel

__all__ = [
    "check_known",
    "check_lengths",
    "check_logits",
    "check_model",
    "check_texts",
    "check_windows",
]

Tokens = NDArray[np.int64]


def check_lengths(lengths: Any) -> list[int]:
    """Lengths of windows, each of which divides the largest.

    Raises:
        UsageError: no list, none in it, or one that is no whole number above 0 or divides badly.
    """
    found = [
        check_whole(f"lengths[{index}]", length, 1, None)
        for index, length in enumerate(check_list("lengths", lengths, "[512, 8192]"))
    ]
    longest = max(found)
    for length in found:
        if longest % length:
            raise UsageError(f"length {length} does not divide the longest, {longest}")
    return found


def check_windows(texts: Sequence[Tokens], lengths: Any, train_length: int) -> None:
    """What texts of one length are cut into, and restarted windows.

    Raises:
        UsageError: no texts, texts of other lengths than the longest + 1, or a length that does
            not divide it.
    """
    longest = max(check_lengths(lengths))
    if longest % check_whole("train_length", train_length, 1, None):
        raise UsageError(f"train_length {train_length} does not divide the longest, {longest}")
    if not len(texts):
        raise UsageError("texts is empty; give at least one")
    for index, tokens in enumerate(texts):
        if len(tokens) != longest + 1:
            raise UsageError(
                f"texts[{index}] has {len(tokens):,} tokens; the longest length needs "
                f"{longest + 1:,}"
            )


def check_known(name: str, texts: Iterable[Tokens], vocab_size: int) -> None:
    """Whether a model knows every token of its texts; its tokenizer can have tokens added to it.

    Raises:
        UsageError: it does not.
    """
    largest = max(int(tokens.max()) for tokens in texts)
    if largest >= vocab_size:
        raise UsageError(
            f"{name}: a text has token {largest:,} of its tokenizer, and the model knows those up "
            f"to {vocab_size - 1:,}"
        )


def check_model(model: object) -> None:
    """Whether something can be scored.

    Raises:
        UsageError: neither a checkpoint nor a callable.
    """
    if not isinstance(model, LanguageModel) and not callable(model):
        raise UsageError(
            f"model is {described(model)}; it must be a checkpoint, as load_checkpoint gives it, "
            "a model, as load_causal_model gives it, or a callable from tokens (B, L) to logits "
            "(B, L, vocabulary)"
        )


def check_texts(model: object, texts: Any, longest: int) -> Tokens:
    """Tokens of every text, cut to the longest length + 1, (texts, longest + 1).

    Args:
        model: a checkpoint, whose tokenizer cuts strings, or any other model.
        texts: a list of strings and arrays of token ids.

    Raises:
        UsageError: no list, none in it, or one that is neither, too short, or has tokens that the
            model does not know.
    """
    given = check_list("texts", texts, "[text]")
    return np.stack(
        [_tokens(model, text, f"texts[{index}]", longest) for index, text in enumerate(given)]
    )


def _tokens(model: object, text: Any, name: str, longest: int) -> Tokens:
    found = _encoded(model, text, name) if isinstance(text, str) else _ids(text, name)
    if len(found) <= longest:
        raise UsageError(
            f"{name} has {len(found):,} tokens; the longest length needs {longest + 1:,}"
        )
    found = found[: longest + 1]
    known = _vocabulary(model)
    low, high = int(found.min()), int(found.max())
    if low < 0 or (known is not None and high >= known):
        legal = "0 or more" if known is None else f"from 0 to {known - 1}"
        raise UsageError(f"{name} has tokens from {low} to {high}; they must be {legal}")
    return found.astype(np.int64)


def _vocabulary(model: object) -> int | None:
    """Ids that a model knows, as far as it says so."""
    known = getattr(model, "vocab_size", None)
    return known if isinstance(known, int) else None


def _encoded(model: object, text: str, name: str) -> Tokens:
    if not isinstance(model, LanguageModel):
        raise UsageError(f"{name} is a string; a plain callable needs arrays of tokens")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name} is not text: character {error.start} is half of a surrogate pair"
        ) from error
    return encode(model.codec.tokenizer, text)


def _ids(text: Any, name: str) -> NDArray[Any]:
    """Token ids in any whole type, (tokens,)."""
    kind = str(text.dtype) if isinstance(text, Tensor | np.ndarray) else described(text)
    refusal = UsageError(f"{name} is {kind}; it must be a string or an array of whole token ids")
    if not isinstance(text, Tensor | np.ndarray | Sequence) or isinstance(text, bytes | bytearray):
        raise refusal
    try:
        found = np.asarray(text.detach().cpu() if isinstance(text, Tensor) else text)
    except (TypeError, ValueError) as error:  # types that NumPy lacks, lists of several lengths
        raise refusal from error
    if found.ndim == 1 and not found.size:
        return found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise refusal
    if found.ndim != 1:
        raise UsageError(f"{name} has shape {found.shape}; it must be (tokens,)")
    return found


def check_logits(logits: Any, tokens: Tensor, targets: Tensor) -> Tensor:
    """What a callable returned, if it is logits for every token.

    Args:
        tokens: (B, L), what it read.
        targets: (B, L), what follows.

    Raises:
        UsageError: something else, or logits that do not reach a target.
    """
    wanted = f"logits ({tokens.shape[0]}, {tokens.shape[1]}, vocabulary)"
    if not isinstance(logits, Tensor):
        raise UsageError(f"model returned a {type(logits).__name__}; it must be {wanted}")
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape or not logits.is_floating_point():
        raise UsageError(
            f"model returned {logits.dtype} of shape {tuple(logits.shape)}; it must be {wanted}, "
            "in floating-point numbers"
        )
    if int(targets.max()) >= logits.shape[-1]:
        raise UsageError(
            f"model returned logits of {logits.shape[-1]} tokens; texts have tokens up to "
            f"{int(targets.max())}"
        )
    return logits
