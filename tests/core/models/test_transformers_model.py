"""Models of the transformers library: their losses are their own, and what is not read is refused.

Architectures are tiny random configurations; the reference is the library's own forward, eager.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import causal
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import prose
from tokenizers import Regex, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from torch.nn import functional

from freeatten_core import load_causal_model, loss_by_length
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.models import catalogue
from freeatten_core.models.codec import Codec
from freeatten_core.models.transformers_model import (
    attention,
    config,
    is_causal_source,
    losses,
)

TOKENS = torch.randint(0, 300, (2, 48), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 300, (2, 48), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="session", autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture
def copied(folders, tmp_path):
    """A folder of a Llama that a test may spoil."""
    return shutil.copytree(folders["llama"], tmp_path / "model")


@pytest.fixture
def small_parts(monkeypatch):
    """Attention in panels of 7 rows, logits of 14 positions at a time."""
    monkeypatch.setattr(attention, "PANEL_ROWS", 7)
    monkeypatch.setattr(losses, "LOGITS", 2 * 14 * causal.VOCABULARY)


@torch.inference_mode()
def own_losses(network, tokens=TOKENS, targets=TARGETS):
    logits = network(tokens).logits
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(
        targets.shape
    )


def edited(folder, **changes):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    return str(folder)


# Losses


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", causal.ARCHITECTURES)
def test_losses_are_those_of_the_models_own_forward(name, folders, models):
    eager = transformers.AutoModelForCausalLM.from_pretrained(
        folders[name], attn_implementation="eager"
    ).eval()
    wanted = own_losses(eager)
    assert wanted.std() > 0.1  # neither a constant nor that of chance
    torch.testing.assert_close(
        models[name].token_losses(TOKENS, TARGETS), wanted, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        models[name].token_losses(TOKENS, TARGETS, 21), wanted[:, 21:], atol=1e-4, rtol=0
    )


@pytest.mark.usefixtures("small_parts")
def test_neither_scores_nor_logits_of_a_whole_text_are_held(models, monkeypatch):
    largest = []
    cross_entropy, softmax = functional.cross_entropy, attention._softmax
    monkeypatch.setattr(
        functional,
        "cross_entropy",
        lambda logits, *rest, **more: (
            largest.append(len(logits)) or cross_entropy(logits, *rest, **more)
        ),
    )
    monkeypatch.setattr(
        attention,
        "_softmax",
        lambda scores, *rest: largest.append(scores.shape[2]) or softmax(scores, *rest),
    )
    models["gemma2"].token_losses(TOKENS, TARGETS)
    assert set(largest) <= {28, 12, 7, 6}


@pytest.mark.parametrize("name", causal.ARCHITECTURES)
def test_a_window_changes_the_rows_that_see_beyond_it_alone(name, models):
    model = models[name]
    if name in (*causal.BYPASSING, *causal.HYBRID):
        with pytest.raises(UsageError, match="not every layer can be given a window"):
            model.with_window(12)
        return
    plain = model.token_losses(TOKENS, TARGETS)
    windowed = model.with_window(12).token_losses(TOKENS, TARGETS)
    torch.testing.assert_close(windowed[:, :12], plain[:, :12], atol=1e-4, rtol=0)
    own = name == "mistral"  # its own window is narrower
    assert (
        (windowed - plain)[:, 12:].abs().max().item() < 1e-4
        if own
        else not torch.allclose(windowed[:, 12:], plain[:, 12:], atol=1e-2)
    )


def test_a_window_is_the_windows_of_the_library(folders, models):
    config = transformers.AutoConfig.from_pretrained(folders["mistral"])
    config.sliding_window = 5
    other = transformers.AutoModelForCausalLM.from_pretrained(
        folders["mistral"], config=config, attn_implementation="eager"
    ).eval()
    found = models["mistral"].with_window(5).token_losses(TOKENS, TARGETS)
    torch.testing.assert_close(found, own_losses(other), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", causal.ARCHITECTURES)
def test_in_bfloat16_a_model_is_as_the_library_loads_it(name, folders, models):
    moved = models[name].on(torch.device("cpu"), torch.bfloat16)
    own = transformers.AutoModelForCausalLM.from_pretrained(folders[name], dtype=torch.bfloat16)
    for key, values in own.state_dict(keep_vars=True).items():
        assert moved.network.state_dict()[key].dtype == values.dtype, key
    for key, values in own.named_buffers():
        found = moved.network.get_buffer(key)
        torch.testing.assert_close(found.to(values.dtype), values, rtol=0, atol=0, msg=key)
    assert torch.isfinite(moved.token_losses(TOKENS, TARGETS)).all()


def test_two_threads_share_a_model_and_each_has_its_window(models):
    plain, windowed = models["llama"], models["llama"].with_window(4)
    wanted = [model.token_losses(TOKENS, TARGETS) for model in (plain, windowed)] * 8
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda model: model.token_losses(TOKENS, TARGETS), [plain, windowed] * 8)
        )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_what_begins_a_text_takes_the_place_of_the_first_token(tmp_path):
    words = causal.with_beginning(causal.tokenizer(), 7)
    folder = causal.save(tmp_path / "model", causal.network("gpt2"), words)
    model = load_causal_model(str(folder))
    begun = TOKENS.clone()
    begun[:, 0] = 7
    wanted = own_losses(causal.network("gpt2"), begun)
    torch.testing.assert_close(model.token_losses(TOKENS, TARGETS), wanted, atol=1e-4, rtol=0)
    assert model.codec.prefix == (7,)
    assert 7 not in model.codec.encode("the boat")[:1]


def test_loss_by_length_reads_strings_and_tokens(models):
    model, texts = models["qwen3"], [prose(seed) for seed in (5, 6)]
    found = loss_by_length(model, texts, [16, 64])
    ids = np.stack([model.codec.encode(text)[:65] for text in texts])
    tokens = torch.from_numpy(ids)
    whole = own_losses(model.network, tokens[:, :-1], tokens[:, 1:]).mean(dim=1)
    np.testing.assert_allclose(found[:, 1], whole, atol=1e-4)
    np.testing.assert_allclose(found, loss_by_length(model, list(ids), [16, 64]))
    assert abs(found[:, 0] - found[:, 1]).min() > 1e-4


def test_loss_by_length_computes_in_the_type_of_the_weights(models):
    half = models["llama"].on(torch.device("cpu"), torch.bfloat16)
    found = loss_by_length(half, [text.numpy() for text in TOKENS], [47])
    in_half, whole = (
        model.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]).double().mean(1)
        for model in (half, models["llama"])
    )
    np.testing.assert_allclose(found[:, 0], in_half, rtol=1e-6)
    assert not np.allclose(found[:, 0], whole, rtol=1e-5)


def test_loss_by_length_refuses_ids_that_the_model_lacks(models):
    with pytest.raises(UsageError, match=r"tokens from 0 to 320; they must be from 0 to 319"):
        loss_by_length(models["llama"], [np.array([0, 320, 1])], [2])


# Lengths


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_seq_len": 2048}, 2048),
        ({"state_size": 8}, None),
        (
            {
                "max_position_embeddings": 4096,
                "rope_parameters": {"factor": 8.0, "original_max_position_embeddings": 1024},
            },
            8192,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "full_attention": {"factor": 8.0, "original_max_position_embeddings": 8192}
                },
            },
            131072,
        ),
    ],
)
def test_the_declared_length_is_read(values, declared):
    assert config.declared_length(transformers.PreTrainedConfig(**values)) == declared


@pytest.mark.parametrize(("name", "limit"), [("gpt2", 128), ("opt", 128), ("llama", None)])
def test_positions_that_are_learned_end_where_their_table_does(name, limit, models):
    assert models[name].position_limit == limit
    tokens = torch.zeros(1, 129, dtype=torch.long)
    if limit is None:
        assert models[name].token_losses(tokens, tokens).shape == (1, 129)
        return
    with pytest.raises(UsageError, match="has 128 positions and cannot read 129 tokens"):
        models[name].token_losses(tokens, tokens)


def test_a_model_that_fails_past_its_declared_length_says_so(models):
    tokens = torch.zeros(1, 200, dtype=torch.long)
    with pytest.raises(UsageError, match=r"gptj fails at 200 tokens, past the 128 that it decl"):
        models["gptj"].token_losses(tokens, tokens)


# Tokens


def test_every_token_ends_at_a_byte_of_its_text(models):
    found, text = models["llama"].codec, "the boat — 漢字\n🐈 sees"
    ends = found.ends(text)
    assert found.lossless
    assert ends[-1] == len(text.encode())
    assert (np.diff(ends) >= 0).all()
    ids = found.encode(text)
    for cut in (3, 7, 20, len(ids) - 1):
        part = found.tokenizer.decode(ids[:cut].tolist())
        assert ends[cut - 1] == len(part.rstrip("�").encode())


def test_bytes_are_of_the_text_where_tokens_do_not_spell_theirs():
    """As SentencePiece has it: a blank is put before the text, unknown characters are bytes."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁": 256, "a": 257}
    words = Tokenizer(BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    words.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    words.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    found = Codec(words, ())
    assert found.lossless
    assert found.ends("a é漢a").tolist() == [0, 1, 2, 2, 4, 4, 4, 7, 8]


def test_a_tokenizer_that_changes_text_is_not_lossless(tmp_path):
    words = Tokenizer.from_str(causal.tokenizer().to_str())
    words.normalizer = normalizers.Lowercase()
    folder = causal.save(tmp_path / "model", causal.network("llama"), words)
    assert not load_causal_model(str(folder)).codec.lossless


# Refusals


def refusal(source):
    with pytest.raises((UsageError, ContentError)) as caught:
        load_causal_model(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "a BertForMaskedLM; only"),
        ({"architectures": ["T5Model"], "is_encoder_decoder": True}, "sequence-to-sequence"),
        ({"vision_config": {}}, "reads pictures or sound"),
        ({"quantization_config": {"quant_method": "awq"}}, r"is quantised \(awq\)"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.C"}}, "code of its own"),
        ({"model_type": "mine"}, "knows no 'mine'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be"),
        ({"hidden_size": -5}, "hidden_size is -5; it must be a whole number from 0 to"),
        ({"vocab_size": "many"}, "vocab_size is 'many'; it must be a whole number"),
        ({"hidden_size": 33}, "config.json"),
        ({"num_hidden_layers": 3}, r"lacks \d+ weights, the first is model.layers.2"),
        ({"vocab_size": 200}, "cannot be loaded|tokenizer"),
    ],
)
def test_a_configuration_that_is_not_read_is_refused_in_a_sentence(copied, changes, said):
    import re

    assert re.search(said, refusal(edited(copied, **changes)))


@pytest.mark.parametrize(("kind", "named"), [(torch.int8, "I8"), (torch.bool, "BOOL")])
@pytest.mark.parametrize("begins", ["model.", ""])
def test_weights_that_are_codes_are_refused_by_name(copied, kind, named, begins):
    file = copied / "model.safetensors"
    weights = load_file(file)
    coded = "model.layers.1.self_attn.q_proj.weight"
    weights[coded] = (10 * weights[coded]).to(kind)
    kept = {begins + name.removeprefix("model."): weight for name, weight in weights.items()}
    save_file(kept, file, metadata={"format": "pt"})
    assert f"layers.1.self_attn.q_proj.weight is {named}; weights must be" in refusal(copied)


def test_weights_of_any_precision_and_masks_of_any_type_are_read(copied):
    file = copied / "model.safetensors"
    weights = {name: weight.double() for name, weight in load_file(file).items()}
    weights["model.layers.0.self_attn.bias"] = torch.ones(4, 4, dtype=torch.bool)
    save_file(weights, file, metadata={"format": "pt"})
    assert load_causal_model(copied).network.dtype == torch.float32


def test_an_adapter_alone_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "is an adapter (adapter_config.json) without its model" in refusal(tmp_path)


def test_pickles_are_not_read(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    assert "only pytorch_model.bin, a pickle, which can run code" in refusal(copied)


def test_code_beside_a_model_is_not_run(copied, capsys):
    ran = copied / "ran"
    code = f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n"
    (copied / "mine.py").write_text(code)
    edited(copied, auto_map={"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"})
    values = json.loads((copied / "tokenizer_config.json").read_text())
    values["auto_map"] = {"AutoTokenizer": ["mine.T", None]}
    (copied / "tokenizer_config.json").write_text(json.dumps(values))
    found = load_causal_model(str(copied)).token_losses(TOKENS, TARGETS)
    torch.testing.assert_close(found, own_losses(causal.network("llama")), atol=1e-4, rtol=0)
    assert not ran.exists()
    assert capsys.readouterr().out == ""


def test_a_missing_tokenizer_is_refused(copied):
    for path in copied.glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer; it must have tokenizer.json or" in refusal(copied)


def test_a_text_that_encodes_to_nothing_is_too_short(tmp_path):
    words = Tokenizer.from_str(causal.tokenizer().to_str())
    words.normalizer = normalizers.Replace(Regex("[a-z ]+"), "")
    folder = causal.save(tmp_path / "model", causal.network("llama"), words)
    model = load_causal_model(str(folder))
    assert len(model.codec.ends("nothing at all")) == 0
    with pytest.raises(UsageError, match="has 0 tokens; the longest length needs 33"):
        loss_by_length(model, ["nothing at all " * 40], [32])


def test_another_models_tokenizer_is_refused(tmp_path):
    folder = causal.save(tmp_path / "model", causal.network("llama", vocab_size=256))
    assert "ids up to 299, its model 256 of them; it is another model's" in refusal(folder)


def test_tokens_added_beyond_a_models_are_refused_where_a_text_has_one(tmp_path):
    words = Tokenizer.from_str(causal.tokenizer().to_str())
    words.add_tokens([f"<{each}>" for each in range(30)])
    folder = causal.save(tmp_path / "model", causal.network("llama"), words)
    model = load_causal_model(str(folder))
    assert model.codec.encode("a boat").max() < causal.VOCABULARY
    with pytest.raises(UsageError, match=r"from 0 to 319"):
        loss_by_length(model, ["a<29> boat"], [1, 2])


def test_a_model_that_sees_later_tokens_is_refused(tmp_path):
    made = transformers.BertLMHeadModel(transformers.BertConfig(**causal.SIZES))
    folder = causal.save(tmp_path / "model", causal.shaken(made))
    assert "later tokens" in refusal(folder)


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(folders, monkeypatch):
    monkeypatch.setattr(config, "available_bytes", lambda _: 10_000_000)
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM,
        "from_pretrained",
        lambda *_, **__: pytest.fail("weights were read"),
    )
    count = sum(weight.numel() for weight in causal.network("llama").parameters())
    said = refusal(folders["llama"])
    assert f"has {count:,} parameters and needs" in said
    assert said.endswith("0.0 GB are free")


def test_without_the_library_a_sentence_says_what_to_install(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'freeatten[models]'" in refusal(folders["llama"])


# Names


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("owner/name", ("owner/name", None)),
        ("gpt2", ("gpt2", None)),
        ("gpt2@main", ("gpt2", "main")),
        ("owner/name@v1.0", ("owner/name", "v1.0")),
        ("https://huggingface.co/owner/name", ("owner/name", None)),
        ("https://huggingface.co/owner/name/tree/main", ("owner/name", "main")),
    ],
)
def test_a_repository_is_named_or_pasted(text, asked, folders, monkeypatch):
    seen = []

    def download(repository, *, revision, allow_patterns, **_):
        seen.append((repository, revision, "model.safetensors" in allow_patterns))
        return folders["llama"]

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = load_causal_model(text)
    assert seen == [(*asked, False), (*asked, True)]  # the weights last
    assert model.name == "@".join(part for part in asked if part)


@pytest.mark.parametrize("name", ["owner/name", "gpt2"])
def test_a_name_that_the_hub_does_not_give_is_refused(name, monkeypatch):
    def offline(*_, **__):
        raise OSError("HF_HUB_OFFLINE is set.\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    assert "the Hugging Face hub did not give it: HF_HUB_OFFLINE is set" in refusal(name)


@pytest.mark.parametrize("source", [None, 3, "", b"llama", ["llama"]])
def test_what_is_no_name_is_refused_as_a_checkpoints_is(source):
    with pytest.raises(UsageError, match=r"the source is .*; it must be a checkpoint"):
        load_causal_model(source)


@pytest.mark.parametrize("dtype", ["float32", torch.int8, None, np.float32])
def test_a_type_that_does_not_float_is_refused(folders, dtype):
    with pytest.raises(UsageError, match=r"dtype is .*; it must be a floating one"):
        load_causal_model(folders["llama"], dtype=dtype)


def test_a_folder_can_be_named_by_a_path(folders):
    assert load_causal_model(Path(folders["llama"])).name == str(folders["llama"])


def test_without_the_network_a_name_is_refused_at_once(tmp_path):
    code = "from freeatten_core import load_causal_model; load_causal_model('gpt2')"
    set_off = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    began = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | set_off,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = "UsageError: no checkpoint 'gpt2': it is neither a folder here nor in the Hugging Face"
    assert f"{said} cache, and HF_HUB_OFFLINE is set" in began.stderr


@pytest.mark.parametrize("name", ["softmax", "sofmax", "softplus-r", "lssa", "lsar"])
def test_a_name_of_this_project_or_near_one_is_not_asked_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked"))
    assert not is_causal_source(name)


def test_a_checkpoint_of_this_project_is_no_causal_source():
    name = catalogue.shipped()[0]
    assert "no model" in refusal(name)
