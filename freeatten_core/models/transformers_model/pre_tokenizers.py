"""How the byte-level tokenizer of a GGUF file splits text before it merges bytes.

A file names the way, `tokenizer.ggml.pre`, and holds no expression; the names are llama.cpp's. With
another way text is cut into other tokens, silently, so a name that is not known here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, pre_tokenizers

from freeatten_core.basics.errors import ContentError

__all__ = ["SPLITS", "WHOLE_WORDS", "set_pre_tokenizer"]

_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

_GPT2 = (rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",)
_SINGLE_DIGITS = (r"\p{N}", *_GPT2)
_LLAMA3 = (
    rf"(?i:{_CONTRACTIONS})|{_WORD}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_END}",
)
_QWEN2 = (rf"(?i:{_CONTRACTIONS})|{_WORD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_END}",)
_TEKKEN = (
    rf"{_WORD}{_UPPER}*{_LOWER}+|{_WORD}{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_END}",
)
_GPT4O = (
    rf"{_WORD}{_UPPER}*{_LOWER}+(?i:{_CONTRACTIONS})?|{_WORD}{_UPPER}+{_LOWER}*(?i:{_CONTRACTIONS})?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_END}",
)

SPLITS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "modern-bert", "mellum"), _GPT2),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
        _SINGLE_DIGITS,
    ),
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        _LLAMA3,
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), _LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"), _QWEN2),
    "tekken": _TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4"), _GPT4O),
}
"""Expressions by name; text is cut by the first, its parts by the next."""

WHOLE_WORDS = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
) | {"tekken"}
"""Names whose tokenizers take a word that is a token whole, without merges, and begin a text with
the token for it unless the file says otherwise."""


def set_pre_tokenizer(tokenizer: Any, name: str, metadata: Mapping[str, Any]) -> None:
    """Make a file's tokenizer, as transformers reads it, split text as the file says.

    Args:
        tokenizer: a `PreTrainedTokenizerFast` of transformers; changed in place.
        name: of the file, for messages.
        metadata: the file's keys and values.

    Raises:
        ContentError: a byte-level tokenizer whose way of splitting is not named, or not known.
    """
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        return  # the others split by what their kind says
    key = "tokenizer.ggml.pre"
    way = str(metadata.get(key, "(none)"))
    if way not in SPLITS:
        raise ContentError(
            f"{name} splits text by {key} {way}, which is not known here; known are "
            f"{', '.join(sorted(SPLITS))}"
        )
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(each), behavior="isolated") for each in SPLITS[way]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if way in WHOLE_WORDS:
        backend.model.ignore_merges = True
        if "tokenizer.ggml.add_bos_token" not in metadata:
            tokenizer.add_bos_token = True
            tokenizer.update_post_processor()
