"""Inside models of the transformers library: every weight is that of their own eager attention."""

from __future__ import annotations

import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import causal
import pytest
import tiny
import torch
import transformers

from freeatten_core import load_causal_model
from freeatten_core.analysis import (
    AttentionMap,
    capture,
    forecast,
    forecast_unread,
    head_table,
    row_stages,
)
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.interface import LanguageModel
from freeatten_core.models.transformers_model import describe, inside
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import attention_weights

LENGTH = 80
TOKENS = torch.randint(2, 300, (LENGTH,), generator=torch.Generator().manual_seed(1))
SEEN = [name for name in causal.ARCHITECTURES if name not in causal.BYPASSING]


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@torch.inference_mode()
def eager_weights(folder, tokens=TOKENS):
    """What the library gives itself, layers without attention left out."""
    made = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    found = made.eval()(tokens[None], output_attentions=True).attentions
    return [each[0] for each in found if each is not None]


def weights_of(found, layer):
    kept = found.layers[layer]
    return attention_weights(kept.query[None], kept.key[None], found.weighed_by, **kept.options)[0]


@pytest.mark.parametrize("name", SEEN)
def test_every_weight_is_that_of_the_models_own_attention(name, folders, models):
    found, own = capture(models[name], TOKENS), eager_weights(folders[name])
    assert len(found.layers) == len(own)
    for layer, wanted in zip(found.layers, own, strict=True):
        assert wanted.std() > 1e-3  # rows are not even, so that a wrong score would show
        torch.testing.assert_close(weights_of(found, layer), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SEEN)
def test_maps_rows_and_tables_are_of_those_weights(name, folders, models):
    found, own = capture(models[name], TOKENS), eager_weights(folders[name])
    layer, wanted = max(found.layers), own[-1]
    drawn = AttentionMap.of(found, layer, 3)
    torch.testing.assert_close(drawn.weights(0, LENGTH, 0, LENGTH), wanted[3], atol=1e-4, rtol=0)
    row = row_stages(found, layer, 3, LENGTH - 1)
    torch.testing.assert_close(
        row.weights.float(), wanted[3, -1, row.keys], atol=1e-4, rtol=0, check_dtype=False
    )
    table = head_table(found, LENGTH // 2)
    mine = next(head for head in table if (head.layer, head.head) == (layer, 3))
    last = wanted[3, LENGTH // 2 :].double()
    shares = last / last.sum(-1, keepdim=True)  # with sinks rows do not sum to 1
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum(-1)
    seen = (wanted[3, LENGTH // 2 :] > 0).sum(-1)
    assert mine.values["first"] == pytest.approx(float(last[:, 0].mean()), abs=1e-4)
    assert mine.values["entropy"] == pytest.approx(float(entropy.mean()), abs=1e-3)
    assert mine.values["relative_entropy"] == pytest.approx(
        float((entropy / seen.log()).mean()), abs=1e-3
    )


@pytest.mark.parametrize(
    ("name", "windows"),
    [("mistral", [8, 8]), ("gemma3", [8, None]), ("llama", [None, None]), ("lfm2", [None])],
)
def test_windows_come_from_the_mask_layer_by_layer(name, windows, models):
    found = capture(models[name], TOKENS)
    assert [each.window for each in found.layers.values()] == windows


def test_layers_without_attention_are_left_out(models):
    model = models["lfm2"]
    assert list(model.layers) == [1]
    with pytest.raises(UsageError, match="layer 0 has no attention; those that have are 1"):
        capture(model, TOKENS, layers=[0])


@pytest.mark.parametrize("name", causal.BYPASSING)
def test_architectures_that_keep_their_attention_are_refused_in_a_sentence(name, models):
    for call in (lambda: capture(models[name], TOKENS), lambda: forecast(models[name], 80)):
        with pytest.raises(ContentError) as caught:
            call()
        assert "does not have its attention made by the library's interface" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_that_differ_from_its_own_are_refused_with_the_layer(folders, monkeypatch):
    own = inside._eager_weights

    def changed(*call):
        first, *rest = own(*call)
        return (first, *(each + 2e-4 for each in rest))

    monkeypatch.setattr(inside, "_eager_weights", changed)
    model = load_causal_model(str(folders["llama"]))
    assert "weights of layer 1 differ by 0.0002 from those of its own" in model.maps_refused
    monkeypatch.setattr(inside, "_eager_weights", lambda *_: ())
    model = load_causal_model(str(folders["llama"]))
    assert "2 layers are seen, and its own attention has weights of 0" in model.maps_refused


def test_a_mask_that_is_no_window_is_refused_by_its_layer(models):
    class Chunked:
        """Llama 4's: rows of a chunk see that chunk alone."""

        def __call__(self, *at):
            _, _, row, key = at
            return (key <= row) & (row // 16 == key // 16)

    from freeatten_core.models.transformers_model import attention

    rule = attention.Rule(Chunked(), LENGTH, torch.device("cpu"))
    assert rule.window is None
    call = attention.Call(
        torch.nn.Module(), torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), 1.0, None, None, None
    )
    with pytest.raises(ContentError, match="in layer 5 a row sees neither all keys before it"):
        models["llama"]._reading(5, call)


def test_more_tokens_than_positions_are_refused(models):
    with pytest.raises(UsageError, match="has 128 positions and cannot read 200 tokens"):
        capture(models["gpt2"], torch.zeros(200, dtype=torch.long))


def test_a_pass_ends_with_the_last_layer_wanted_and_makes_no_logits(models):
    model, passed = models["llama"], []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: passed.append(name))
        for name, module in model.network.named_modules()
        if name in ("lm_head", "model.layers.0.mlp", "model.layers.1.mlp")
    ]
    capture(model, TOKENS)
    for hook in hooks:
        hook.remove()
    assert passed == ["model.layers.0.mlp"]


def test_what_begins_a_text_is_read_and_shown(tmp_path):
    words = causal.with_beginning(causal.tokenizer(), 7)
    folder = causal.save(tmp_path / "model", causal.network("gpt2"), words)
    found = capture(load_causal_model(str(folder)), TOKENS)
    assert found.tokens.tolist() == [7, *TOKENS.tolist()[1:]]
    begun = found.tokens.clone()
    torch.testing.assert_close(
        weights_of(found, 1), eager_weights(folder, begun)[1], atol=1e-4, rtol=0
    )


def test_progress_reaches_the_whole_and_an_exception_in_it_cancels(models):
    seen = []
    capture(models["mistral"], TOKENS, advance=lambda *pair: seen.append(pair))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(models["mistral"], TOKENS, advance=cancel)


def test_two_threads_look_into_two_models_at_once(models):
    names = ["llama", "mistral", "gemma3", "qwen3"]
    wanted = {name: capture(models[name], TOKENS) for name in names}
    with ThreadPoolExecutor(2) as pool:
        jobs = [*names, *reversed(names)] * 3
        found = list(pool.map(lambda name: capture(models[name], TOKENS), jobs))
    for name, one in zip(jobs, found, strict=True):
        for layer, kept in one.layers.items():
            torch.testing.assert_close(kept.query, wanted[name].layers[layer].query)
            assert kept.window == wanted[name].layers[layer].window


def test_a_forecast_counts_what_is_kept(models):
    found = capture(models["qwen3"], TOKENS, layers=[1])
    kept = found.layers[1]
    tensors = [kept.query, kept.key, *vars(kept.rows).values()]
    expected = forecast(models["qwen3"], LENGTH, [1])
    assert expected.kept_bytes == sum(each.nbytes for each in tensors)
    assert expected.seconds > 0


@pytest.mark.parametrize("name", SEEN)
def test_a_model_is_described_as_it_is_before_a_weight_is_read(name, folders, models, tmp_path):
    without = shutil.ignore_patterns("*.safetensors")
    found = describe(str(shutil.copytree(folders[name], tmp_path / "bare", ignore=without)))
    assert found.layers == models[name].layers
    assert found.windows == {
        layer: each.window for layer, each in capture(models[name], TOKENS).layers.items()
    }
    assert found.parameters == sum(each.numel() for each in models[name].network.parameters())
    assert found.declared_length == models[name].declared_length
    assert not found.is_fetched

    layer = max(found.layers)
    unread, loaded = (
        forecast_unread(found, LENGTH, [layer]),
        forecast(models[name], LENGTH, [layer]),
    )
    assert unread.bytes == loaded.bytes + found.weight_bytes
    assert unread.kept_bytes == loaded.kept_bytes + found.weight_bytes
    assert forecast_unread(found, 1000 * LENGTH, [layer]).seconds > 10 * unread.seconds > 0


def test_what_is_no_model_of_others_is_not_described_and_a_missing_layer_is_told(tmp_path, folders):
    assert describe(str(tiny.save(tmp_path / "own"))) is None
    with pytest.raises(UsageError, match="layer 0 has no attention; those that have are 1"):
        forecast_unread(describe(str(folders["lfm2"])), LENGTH, [0])
    with pytest.raises(ContentError, match="names no layer with attention"):
        describe(str(folders["mamba"]))


# One interface


def test_both_kinds_of_model_fulfil_one_interface(models):
    built = tiny.model("softmax")
    own = Checkpoint("tiny", built.config, built, tiny.tokenizer(), tiny.Path())
    assert isinstance(own, LanguageModel)
    assert isinstance(models["llama"], LanguageModel)
    assert not isinstance(built, LanguageModel)


def test_our_softmax_as_a_llama_has_the_same_inside(tmp_path):
    """Its weights under the library's names: the same queries, keys, statistics and maps."""
    built = tiny.model("softmax", kv_heads=1)
    own = Checkpoint("tiny", built.config, built, tiny.tokenizer(), tmp_path)
    model = load_causal_model(
        str(causal.save_as_llama(tmp_path / "llama", built, tiny.tokenizer()))
    )
    tokens = TOKENS % built.config.vocab_size
    mine, others = capture(own, tokens), capture(model, tokens)
    assert list(mine.layers) == list(others.layers)
    for layer, kept in mine.layers.items():
        other = others.layers[layer]
        torch.testing.assert_close(kept.query, other.query, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(kept.key, other.key, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(kept.rows.entropy, other.rows.entropy, atol=1e-4, rtol=1e-4)
    first, second = (AttentionMap.of(found, 1, 1) for found in (mine, others))
    torch.testing.assert_close(
        first.weights(0, LENGTH, 0, LENGTH), second.weights(0, LENGTH, 0, LENGTH)
    )
    assert mine.weighed_by == others.weighed_by


# With modifiers

LONG = torch.randint(2, 300, (2 * causal.DECLARED,), generator=torch.Generator().manual_seed(3))
ROTATED = {
    "+pi": {"rope_type": "linear", "factor": 2.0},
    "+ntk": {"rope_theta": 10000.0 * 2 ** (8 / 6)},
    "+dynamic-ntk": {"rope_type": "dynamic", "factor": 1.0},
    "+yarn:ramp=dims": {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": causal.DECLARED,
    },
}
"""What the library's own configuration calls them, for a text of twice the declared length."""


def made_by(attend, network):
    """The weights of every layer where its attention is made by a function of the tests."""
    transformers.AttentionInterface.register("of the tests", attend)
    transformers.AttentionMaskInterface.register(
        "of the tests", transformers.masking_utils.eager_mask
    )
    network.set_attn_implementation("of the tests")
    with torch.inference_mode():
        return [each[0] for each in network(LONG[None], output_attentions=True).attentions]


def rotated(network, modifier):
    config = network.config
    config.rope_parameters = config.rope_parameters | ROTATED[modifier]
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    made.load_state_dict(network.state_dict())
    return made.eval()(LONG[None], output_attentions=True).attentions


def windowed(network, _):
    """As a Mistral, which is a Llama with a window."""
    config = network.config.to_dict() | {"sliding_window": causal.DECLARED}
    config = transformers.MistralConfig(**{k: v for k, v in config.items() if k != "model_type"})
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    made.load_state_dict(network.state_dict())
    return made.eval()(LONG[None], output_attentions=True).attentions


def with_grown_queries(network, modifier):
    own = transformers.models.llama.modeling_llama.eager_attention_forward
    count = torch.arange(1, len(LONG) + 1)
    growth = {
        "+logn": count.clamp(min=causal.DECLARED).log() / math.log(causal.DECLARED),
        "+temper": 1 + 0.1 * (1 + (count - 1) // causal.DECLARED).log(),
    }[modifier]

    def attend(module, query, *others, **options):
        return own(module, query * growth[:, None], *others, **options)

    return made_by(attend, network)


def swapped(network, _):
    def attend(_module, query, key, value, _mask, **_options):
        key, value = (each.repeat_interleave(2, dim=1) for each in (key, value))
        weights = staged.stages(query.double(), key.double(), "lssar:p=3").weights.float()
        return (weights @ value).transpose(1, 2).contiguous(), weights

    return made_by(attend, network)


OWN = (
    dict.fromkeys(ROTATED, rotated)
    | {"+window": windowed, "+logn": with_grown_queries, "+temper": with_grown_queries}
    | {"+swap:to=lssar:p=3": swapped}
)


@torch.no_grad()
@pytest.mark.parametrize("modifier", OWN)
def test_a_modified_models_weights_are_those_of_its_own_attention(modifier, folders, models):
    found = capture(models["llama"], LONG, variant=f"softmax{modifier}")
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folders["llama"], attn_implementation="eager"
    ).eval()
    plain = capture(models["llama"], LONG)
    own = [each.view(4, len(LONG), -1) for each in OWN[modifier](network, modifier)]
    for layer, wanted in enumerate(own):
        torch.testing.assert_close(weights_of(found, layer), wanted, atol=1e-4, rtol=0)
        assert not torch.allclose(weights_of(plain, layer), wanted, atol=1e-3)
    drawn = AttentionMap.of(found, 1, 3)
    torch.testing.assert_close(
        drawn.weights(0, len(LONG), 0, len(LONG)), own[1][3], atol=1e-4, rtol=0
    )
