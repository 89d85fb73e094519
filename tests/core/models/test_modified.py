"""Modifiers on models of the transformers library: what their sources define, or the library's own.

The reference of a rotation is the same model loaded with that configuration.
"""

from __future__ import annotations

import causal
import pytest
import torch
import transformers

from freeatten_core import attention, load_causal_model
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.models.transformers_model import attention as layer
from freeatten_core.variants.variant import Variant

LENGTH = 2 * causal.DECLARED
TOKENS = torch.randint(0, 300, (2, LENGTH), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 300, (2, LENGTH), generator=torch.Generator().manual_seed(2))
HEAD = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    names = ("llama", "gpt_neox", "gemma2", "gemma3", "gpt2", "gpt_oss", "mistral", "bloom")
    return {name: causal.save(root / name, causal.network(name)) for name in names}


@pytest.fixture(scope="module")
def models(folders):
    return {name: load_causal_model(str(folder)) for name, folder in folders.items()}


def changed(model, modifiers, restart=16):
    return model.with_modifiers(Variant.parse(f"softmax{modifiers}"), LENGTH, restart)


def losses(model, tokens=TOKENS):
    return model.token_losses(tokens, TARGETS[:, : tokens.shape[1]])


def loaded(folder, **parameters):
    """The model's losses, loaded with another rotary embedding."""
    config = transformers.AutoConfig.from_pretrained(folder)
    config.rope_parameters = config.rope_parameters | parameters
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, config=config).eval()
    with torch.inference_mode():
        logits = network(TOKENS).logits
    found = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), TARGETS.flatten(), reduction="none"
    )
    return found.view(TARGETS.shape)


RAISED = 10000.0 * 2 ** (HEAD / (HEAD - 2))
SAME = {
    "+pi": {"rope_type": "linear", "factor": 2.0},
    "+ntk": {"rope_theta": RAISED},
    "+dynamic-ntk": {"rope_type": "dynamic", "factor": 1.0},
    "+yarn:ramp=dims": {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": causal.DECLARED,
    },
}


@pytest.mark.parametrize("modifier", SAME)
def test_a_rotation_equals_loading_with_its_configuration(modifier, folders, models):
    wanted = loaded(folders["llama"], **SAME[modifier])
    found = losses(changed(models["llama"], modifier))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found, losses(models["llama"]), atol=1e-3)


def test_yarn_by_turns_is_not_that_by_dimensions(models):
    turns, dims = (losses(changed(models["llama"], each)) for each in ("+yarn", "+yarn:ramp=dims"))
    assert not torch.allclose(turns, dims, atol=1e-4)


def test_a_part_of_the_dimensions_can_be_what_is_turned(folders, models):
    wanted = loaded(folders["gpt_neox"], **SAME["+pi"])
    found = losses(changed(models["gpt_neox"], "+pi"))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modifier", ["+dynamic-ntk", "+logn", "+infoscale", "+temper", "+rerope"])
def test_within_the_declared_length_a_model_is_as_it_was(modifier, models):
    short = TOKENS[:, : causal.DECLARED]
    torch.testing.assert_close(
        losses(changed(models["llama"], modifier), short),
        losses(models["llama"], short),
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize(
    "modifier",
    ["+logn", "+infoscale", "+temper", "+rerope", "+swap:to=lssa", "+window", "+yarn+logn"],
)
def test_beyond_it_a_modifier_changes_a_model_and_leaves_the_one_it_was_made_of(modifier, models):
    before = losses(models["llama"])
    assert not torch.allclose(losses(changed(models["llama"], modifier)), before, atol=1e-4)
    torch.testing.assert_close(losses(models["llama"]), before, atol=0, rtol=0)


def test_a_window_is_the_restart_long(models):
    torch.testing.assert_close(
        losses(changed(models["llama"], "+window", 12)), losses(models["llama"].with_window(12))
    )


def test_queries_grow_as_qwens_do(models):
    """log N / log L beyond L, in every layer's attention."""
    query, key, value = torch.randn(3, 1, 4, LENGTH, HEAD).unbind()
    rule = layer.Rule(lambda _b, _h, row, column: column <= row, LENGTH, torch.device("cpu"))
    count = torch.arange(1, LENGTH + 1).clamp(min=causal.DECLARED).double()
    grown = query * (count.log() / count[0].log()).float()[:, None]
    change = changed(models["llama"], "+logn").change
    with layer.changed(change):
        found, _ = layer.attend(None, query, key, value, rule)
    wanted, _ = layer.attend(None, grown, key, value, rule)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("scaling", [None, 0.7])
def test_a_swapped_attention_is_the_operators_with_grouped_heads(models, scaling):
    query, key, value = torch.randn(1, 4, 40, HEAD), *torch.randn(2, 1, 2, 40, HEAD).unbind()
    rule = layer.Rule(lambda _b, _h, row, column: column <= row, 40, torch.device("cpu"))
    change = changed(models["llama"], "+swap:to=sigmoid").change
    with layer.changed(change):
        found, _ = layer.attend(None, query, key, value, rule, scaling=scaling)
    scaled = query * (1 if scaling is None else scaling * HEAD**0.5)
    wanted = attention(scaled, *(each.repeat_interleave(2, 1) for each in (key, value)), "sigmoid")
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_rerope_turns_far_keys_as_the_farthest_that_are_declared(models):
    """As the model's own frequencies do for all distances below L, and as L − 1 beyond it."""
    rope = changed(models["llama"], "+rerope").change.familiar.rope
    own = models["llama"].network.model.rotary_emb.inv_freq
    torch.testing.assert_close(rope.frequencies(1).float(), own)
    assert rope.train_length == causal.DECLARED


@pytest.mark.parametrize(
    ("name", "modifier", "said"),
    [
        ("gemma3", "+yarn", "it has one for each kind of layer"),
        ("gpt2", "+pi", "it has none"),
        ("bloom", "+logn", "not every layer's attention can be given another|declares no length"),
        ("bloom", "+window", "not every layer can be given a window"),
        ("gpt_neox", "+rerope", "its own turns 2 of 8 dimensions"),
        ("llama", "+align", "align is fitted for models of this project only"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(name, modifier, said, models):
    with pytest.raises(UsageError, match=said):
        changed(models[name], modifier)


def test_a_rotation_that_is_scaled_already_is_refused(tmp_path):
    made = causal.network(
        "llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    )
    model = load_causal_model(str(causal.save(tmp_path / "model", made)))
    with pytest.raises(UsageError, match="its own is of the type linear"):
        changed(model, "+yarn")


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss"])
def test_scores_with_a_cap_or_a_sink_are_not_given_to_another_attention(name, models):
    with pytest.raises(ContentError, match="scores without a cap or a sink"):
        losses(changed(models[name], "+swap:to=lssa"))
