"""RegularGPT: layers that are used again, each time on keys that lie farther apart."""

from dataclasses import replace

import pytest
import tiny
import torch
from strategies import Call, refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.analysis import AttentionMap, capture, row_stages
from freeatten_core.analysis.rows import statistic
from freeatten_core.basics.errors import UsageError
from freeatten_core.measures.controls import window_variant
from freeatten_core.models.decoder import Model
from freeatten_core.models.dilated import dilated_attention
from freeatten_core.models.forecast import parameter_count
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.variants.stages import Stages

NAMES = ("regulargpt:dilate=2", "regulargpt:dilate=3", "regulargpt:dilate=2/own")
TOKENS = torch.arange(40)[None] * 7 % 300


def model(name, **changes):
    layers = 8 if name.endswith("own") else 2  # 16 tokens are 4 deep with two keys
    return tiny.model(name, scale=4.0, layers=layers, **changes)


def seen_by(row, stride, keys):
    """The keys of a row by the definition: m − i · C^d, i = 0 … C − 1."""
    return [row - i * stride for i in range(keys) if row >= i * stride]


def by_definition(query, key, value, bias, stride):
    """Row by row in float64: a softmax of the scores of the few keys, each with its bias."""
    output = torch.empty_like(query[..., : value.shape[-1]])
    for row in range(query.shape[2]):
        at = seen_by(row, stride, bias.shape[1])
        scores = (query[:, :, row, None] * key[:, :, at]).sum(-1) / query.shape[-1] ** 0.5
        weights = (scores + bias[:, : len(at)]).softmax(-1)
        output[:, :, row] = (weights[..., None] * value[:, :, at]).sum(2)
    return output


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("keys", [2, 3, 9])
def test_output_and_gradients_are_those_of_the_keys_a_stride_apart(stride, keys):
    tensors = Call(40, 40, dim=6, value_dim=6).tensors()
    draw = torch.Generator().manual_seed(5)
    bias = torch.randn(2, keys, generator=draw, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (*tensors, bias)]
    terms = ScoreTerms(distance_bias=bias)
    found = dilated_attention(
        grouped_attention, *tensors, Stages(), stride=stride, window=keys, terms=terms
    )
    wanted = by_definition(*leaves, stride)
    torch.testing.assert_close(found, wanted)
    mixture = torch.linspace(-1, 1, wanted.numel()).double().view_as(wanted)
    grads = [torch.autograd.grad(out, leaves, mixture) for out in (found, wanted)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_depth_is_the_logarithm_of_the_text():
    """⌈log_C T⌉, and of training at least: 512 tokens are 2 deep with 64 keys, 8,192 are 3."""
    built = model("regulargpt:dilate=2").config
    assert [len(built.passes(length)) // 2 for length in (5, 16, 17, 32, 500)] == [4, 4, 5, 5, 9]
    assert [stride for _, stride in built.passes(16)] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert [layer for layer, _ in built.passes(16)] == [0, 1] * 4
    text = Variant.parse("regulargpt").setting.dilate
    assert [text.depth(length) for length in (64, 512, 4096, 8192)] == [1, 2, 2, 3]
    own = model("regulargpt:dilate=2/own").config
    assert own.passes(500) == [(layer, 2 ** (layer // 2)) for layer in range(8)]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_what_its_name_says(name):
    built = model(name).double()
    hidden = built.embedding(TOKENS)
    for at, stride in built.config.passes(40):
        block = built.blocks[at]
        layer, normed = block.attention, block.attention_norm(hidden)
        parts = [each(normed).view(1, 40, 2, 8).transpose(1, 2)
                 for each in (layer.query, layer.key, layer.value)]  # fmt: skip
        mixed = by_definition(*parts, layer.offsets, stride)
        hidden = hidden + layer.out(mixed.transpose(1, 2).flatten(2))
        hidden = hidden + block.mlp(block.mlp_norm(hidden))
    torch.testing.assert_close(built.hidden(TOKENS), built.final_norm(hidden))


@pytest.mark.parametrize("name", NAMES)
def test_a_token_sees_every_token_before_it_and_none_after(name):
    """Of a text that the depth is enough for."""
    built = model(name)
    length = 16
    embedded = built.embedding(TOKENS[:, :length]).detach().requires_grad_()
    built.embedding.register_forward_hook(lambda *_: embedded)
    out = built.hidden(TOKENS[:, :length])
    for row in (0, 6, 15):
        (grad,) = torch.autograd.grad(out[0, row].sum(), embedded, retain_graph=True)
        assert (grad[0].abs().amax(-1) > 0).tolist() == [at <= row for at in range(length)]


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_and_is_counted(name):
    built = model(name).requires_grad_(True)
    built.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]).mean().backward()
    for parameter, weight in built.named_parameters():
        assert weight.grad.abs().max() > 0, parameter
    assert parameter_count(built.config) == sum(weight.numel() for weight in built.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_maps_stages_and_statistics_show_the_keys_that_are_seen(tmp_path, name):
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", model(name)))
    assert loaded.config.variant == Variant.parse(name)
    seen = capture(loaded, TOKENS[0])
    assert [*seen.layers] == [*range(len(loaded.config.passes(16)))]
    keys = loaded.config.variant.setting.dilate.keys
    for number, (_, stride) in enumerate(loaded.config.passes(16)):
        shown = AttentionMap.of(seen, number, 1).weights(0, 40, 0, 40)
        for row in (0, 9, 39):
            assert shown[row].nonzero().flatten().tolist() == seen_by(row, stride, keys)[::-1]
        torch.testing.assert_close(shown.sum(-1), torch.ones(40))
        many = [len(seen_by(row, stride, keys)) for row in range(40)]
        assert seen.layer(number).visible_count(0, 40).tolist() == many
        largest = seen.statistics(number).largest[1]
        torch.testing.assert_close(largest, shown.amax(-1), rtol=1e-4, atol=1e-5)
        share = statistic(seen, "relative_entropy", number).nan_to_num()
        assert (share <= 1 + 1e-5).all()
        stages = row_stages(seen, number, 1, 39)
        torch.testing.assert_close(
            stages.weights.float(), shown[39, stages.keys], rtol=1e-4, atol=1e-5
        )


REFUSED = {
    "softmax:dilate=2": ["learned bias", "write softmax:dilate=2:position=none"],
    "lssar:dilate=2:position=none": ["dilate is of softmax"],
    "regulargpt:gate=forget": ["all keys that lie between"],
    "regulargpt:scale=log-n": ["a scale grows with the keys"],
    "regulargpt+window": ["a row sees 64 keys at every length", "window has nothing to do"],
    "regulargpt+logn": ["logn has nothing to do"],
    "regulargpt+yarn": ["yarn changes how far keys are rotated"],
    "regulargpt+swap:to=lssa": ["dilate is of softmax"],
    "regulargpt:dilate=1": ["dilate is '1'", "from 2 to 4096", "/own"],
    "regulargpt:dilate=2/": ["dilate is '2/'"],
    "regulargpt:dilate=two": ["dilate is 'two'"],
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(name, words):
    with refused(UsageError, words):
        Variant.parse(name)


def test_layers_of_their_own_are_as_many_at_every_depth():
    with refused(UsageError, ["4 deep at 16 tokens", "a multiple of that, and are 6"]):
        replace(tiny.CONFIG, variant=Variant.parse("regulargpt:dilate=2/own"), layers=6)


def test_it_has_no_window_of_its_own():
    assert window_variant(Variant.parse("regulargpt")) is None


def test_names_parse_back():
    for name in NAMES:
        assert Variant.parse(str(Variant.parse(name))) == Variant.parse(name)
    assert str(Variant.parse(NAMES[2])) == "softmax:dilate=2/own:position=none"


def test_depth_does_not_change_within_the_training_length():
    """What is scored with less context is the same model's: every text is as deep as training."""
    built = Model(replace(tiny.CONFIG, variant=Variant.parse(NAMES[0])))
    built.initialise(0)
    short, long = built.hidden(TOKENS[:, :9]), built.hidden(TOKENS[:, :16])
    torch.testing.assert_close(short, long[:, :9])
