"""The language model: causal, as small as promised, and what its losses are."""

from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from strategies import VARIANTS, refused

from freeatten_core import Variant
from freeatten_core.basics.errors import UsageError
from freeatten_core.models import decoder
from freeatten_core.models.decoder import Model, parameter_shapes
from freeatten_core.training.recipe import Recipe

SHIPPED = (
    *("softmax", "softmax-ls", "lssa", "lssar:p=3", "lssar:p=15", "sigmoid", "relu"),
    "stick-breaking:output=gated",
)


def some_tokens(batch=2, length=24, seed=0):
    return torch.randint(300, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", SHIPPED)
def test_the_shipped_recipe_fits_in_a_weight_file(variant):
    shapes = parameter_shapes(Recipe().config(Variant.parse(variant)))
    gates = 2 * 5 * 192 * 192 * (variant == "stick-breaking:output=gated")  # a matrix a layer
    stored = 2 * sum(torch.Size(shape).numel() for shape in shapes.values()) - gates
    assert 6_000_000 < stored <= 6_500_000


def test_parameters_by_hand():
    built = tiny.model(kv_heads=1)
    attention = 16 * 16 + 2 * 16 * 8 + 16 * 16  # one key head of 8
    block = attention + 3 * 16 * 32 + 2 * 16
    assert sum(weight.numel() for weight in built.parameters()) == 300 * 16 + 2 * block + 16


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_shapes_without_allocating_are_those_of_the_model(kv_heads):
    built = tiny.model(kv_heads=kv_heads)
    found = {name: tuple(weight.shape) for name, weight in built.named_parameters()}
    assert parameter_shapes(built.config) == found


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_later_token_never_changes_an_earlier_logit(variant):
    built = tiny.model(variant)
    tokens = some_tokens()
    before = built(tokens)
    for at in (1, 13, 23):
        altered = tokens.clone()
        altered[:, at] = (altered[:, at] + 150) % 300
        after = built(altered)
        torch.testing.assert_close(after[:, :at], before[:, :at], rtol=1e-5, atol=1e-5)
        assert (after[:, at] - before[:, at]).abs().amax() > 0.1


@pytest.mark.parametrize("variant", SHIPPED)
def test_an_earlier_token_changes_later_logits(variant):
    built = tiny.model(variant)
    tokens = some_tokens()
    altered = tokens.clone()
    at = -8  # nearer than half the text: a stick not yet trained halves with every token
    altered[:, at] = (altered[:, at] + 150) % 300
    assert (built(altered) - built(tokens))[:, -1].abs().amax() > 1e-4


def test_texts_of_a_batch_do_not_meet():
    tokens = some_tokens()
    built = tiny.model("lssar")
    torch.testing.assert_close(built(tokens)[1:], built(tokens[1:]))


@pytest.mark.parametrize("at_a_time", [7, 2048])
@pytest.mark.parametrize("start", [0, 5, 23])
def test_token_losses_are_the_cross_entropy_of_the_logits(start, at_a_time, monkeypatch):
    monkeypatch.setattr(decoder, "LOSS_TOKENS", at_a_time)
    built, tokens, targets = tiny.model(), some_tokens(), some_tokens(seed=1)
    logs = built(tokens).double().log_softmax(-1)
    expected = -logs.gather(-1, targets[..., None])[..., 0].float()
    found = built.token_losses(tokens, targets, start)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected[:, start:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mlp_is_the_same_whether_or_not_a_gradient_is_kept(dtype):
    mlp = tiny.model().blocks[0].mlp.to(dtype).requires_grad_()
    hidden = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    given = hidden.clone()
    kept = mlp(hidden)
    with torch.no_grad():
        assert torch.equal(mlp(hidden), kept)
        by_hand = F.silu(F.linear(hidden, mlp.gate.weight)) * F.linear(hidden, mlp.up.weight)
        assert torch.equal(mlp(hidden), F.linear(by_hand, mlp.down.weight))
    assert kept.requires_grad
    assert torch.equal(hidden, given)


def test_losses_of_low_precision_weights_are_float32():
    built = tiny.model().to(torch.bfloat16)
    assert built.token_losses(some_tokens(), some_tokens()).dtype == torch.float32


def test_embeddings_are_tied():
    built = tiny.model()
    hidden = built.hidden(some_tokens())
    assert hidden.shape == (2, 24, 16)
    torch.testing.assert_close(built.logits(hidden), hidden @ built.embedding.weight.T)


@pytest.mark.parametrize("variant", SHIPPED)
def test_one_key_head_for_a_group_is_that_head_repeated(variant):
    grouped = tiny.model(variant, heads=4, kv_heads=2)
    full = Model(replace(grouped.config, kv_heads=4))
    weights = dict(grouped.named_parameters())
    for name, weight in grouped.named_parameters():
        if name.endswith(("key.weight", "value.weight")):
            heads = weight.unflatten(0, (2, 4))
            weights[name] = heads.repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(weights)
    tokens = some_tokens()
    torch.testing.assert_close(grouped(tokens), full(tokens), rtol=1e-4, atol=1e-4)


def test_attention_can_be_replaced_and_is_told_the_variant():
    seen = []

    def attend(query, key, value, variant):
        seen.append((str(variant), tuple(query.shape), tuple(key.shape)))
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    built = tiny.model(kv_heads=1)
    expected = built(some_tokens())
    built.attend = attend
    torch.testing.assert_close(built(some_tokens()), expected, rtol=1e-4, atol=1e-4)
    assert seen == [("softmax", (2, 2, 24, 8), (2, 1, 24, 8))] * 2


def test_queries_and_keys_can_be_observed():
    built, seen = tiny.model("lssar+yarn", kv_heads=1), {}
    built.hidden(some_tokens(), observe=lambda layer, *found: seen.setdefault(layer, found[:2]))
    assert [tuple(x.shape) for x in (*seen[0], *seen[1])] == [(2, 2, 24, 8), (2, 1, 24, 8)] * 2
    assert sorted(seen) == [0, 1]


@pytest.mark.parametrize("seed", [1 << 64, -1, 0.5, True])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with refused(
        UsageError, [f"seed is {seed!r}", "a whole number from 0 to 18446744073709551615"]
    ):
        tiny.model(seed=seed)
    assert tiny.model(seed=(1 << 64) - 1).config == tiny.CONFIG


def test_initial_weights_depend_on_the_seed_alone():
    first, same, other = (Model(tiny.CONFIG) for _ in range(3))
    first.initialise(1)
    torch.randn(3)
    same.initialise(1)
    other.initialise(2)
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    assert first.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(first.final_norm.weight, torch.ones(16))


# modifiers


def test_yarn_shares_the_weights_and_leaves_the_model_as_it_was():
    built, tokens = tiny.model(), some_tokens(length=64)
    before = built(tokens)
    stretched = built.with_modifiers(Variant.parse("softmax+yarn"), 64)
    assert (built.rope.stretch, stretched.rope.stretch) == (1, 4)
    assert (stretched(tokens) - before).abs().amax() > 0.01
    assert torch.equal(built(tokens), before)
    shared = zip(built.parameters(), stretched.parameters(), strict=True)
    assert all(one is other for one, other in shared)


@pytest.mark.parametrize(("name", "longest"), [("softmax", 64), ("softmax+yarn", 16)])
def test_without_a_modifier_or_a_longer_text_nothing_changes(name, longest):
    built, tokens = tiny.model(), some_tokens(length=longest)
    assert torch.equal(built.with_modifiers(Variant.parse(name), longest)(tokens), built(tokens))


def test_yarn_never_shrinks():
    assert tiny.model().with_modifiers(Variant.parse("softmax+yarn"), 8).rope.stretch == 1
