"""Models whose layers know order in other ways, forget, or gate what they put out."""

import json
import math
from dataclasses import fields, replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from strategies import refused
from test_dilated import NAMES as DILATED
from written import clex_frequencies, pope_scores, turned, weights

from freeatten_core import Variant, load_checkpoint
from freeatten_core.analysis import AttentionMap, capture, row_stages
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.models.decoder import FORGET_BIAS, PHASE, Model, is_decayed, kept_type
from freeatten_core.models.forecast import parameter_count
from freeatten_core.models.format import CONFIG, WEIGHTS
from freeatten_core.ops.definitions import staged
from freeatten_core.positions.rope import Rope
from freeatten_core.positions.table import POSITIONS
from freeatten_core.variants.setting import PLAIN_SETTING
from freeatten_core.variants.stages import stages_of

NAMES = (
    *("alibi", "nope", "fox", "softmax-ls:position=alibi/none", "lssar:p=3:gate=forget"),
    *("softplus-r:p=3:gate=forget:position=rope@6-none", "softmax:output=gated:position=rope/none"),
    *("clex", "softmax-ls:position=clex/rope@6-clex", "softmax:position=random"),
    *("softmax:position=yarn/none", "pope", "softmax:position=pope@6-none", "drope"),
    *("ssmax", "softplus-r:p=3:scale=log-n-bias:position=rope@6-none", "asentmax"),
    *("sink", "off-by-one:sink=learned:scale=log-n:position=alibi/none"),
    *("diff", "softplus-r:p=3:gate=forget:heads=difference:position=alibi/none"),
)
"""Every position and every option that is trained occurs; `dilate`, whose layers are passed several
times, has a file of its own."""
each_name = pytest.mark.parametrize("name", NAMES)
TOKENS = torch.arange(40)[None] * 7 % 300


def learned(model):
    """The model with something learned by what begins at 0."""
    if model.clex is not None:
        for mine, other in zip((model.clex.up, model.clex.down), weights(4, 5, 0.5), strict=True):
            mine.data.copy_(other)
    draw = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if name.endswith(PHASE):
            weight.data.copy_(-3 * torch.rand(weight.shape, generator=draw) - 0.1)
    return model


def by_kind(model, length):
    """What a head of every kind is turned by, from the papers' formulas; (frequencies, factor)."""
    config, rope = model.config, model.rope
    plain = rope.frequencies(config.train_length)
    found = {"rope": (plain, 1.0), "random": (plain, 1.0)}
    yarn = Rope(config.head_dim, config.rope_base, config.train_length, stretch=16.0)
    found["yarn"] = yarn.frequencies(length), 0.1 * math.log(16) + 1
    if model.clex is not None:
        t = min(16, math.ceil(length / config.train_length))
        own = clex_frequencies(model.clex.up, model.clex.down, config.rope_base, t)
        found["clex"] = own, 1.0
    return found


def pope_attention(query, key, value, phase, position):
    """Softmax of PoPE's scores, of the keys that a row sees."""
    apart = torch.arange(query.shape[2])[:, None] - torch.arange(query.shape[2])
    seen = (apart >= 0) & (apart < (position.window or 1 << 20))
    scores = pope_scores(query, key, phase, 10_000.0).masked_fill(~seen, -math.inf)
    return scores.softmax(-1) @ value


def written_out(model, tokens):
    """The final hidden states by the definition in float64, dense, one layer after the other."""
    model = model.double()
    length, config = tokens.shape[1], model.config
    angles = by_kind(model, length)
    hidden = model.embedding(tokens)
    for block, position in zip(model.blocks, config.positions, strict=True):
        layer, normed = block.attention, block.attention_norm(hidden)
        heads = normed.shape[0], length, -1, config.head_dim
        parts = [one(normed).view(heads).transpose(1, 2)
                 for one in (layer.query, layer.key, layer.value)]  # fmt: skip
        shared = parts[0].shape[1] // parts[1].shape[1]
        for part, step in zip(parts[:2], (1, shared), strict=True):
            for head, by in enumerate(position.rotations[::step]):
                if by in angles:
                    frequencies, factor = angles[by]
                    part[:, head] = turned(part[:, head], frequencies) * factor
        if layer.scale is not None:
            parts[0] = parts[0] * scale_written_out(layer.scale, normed, position)[..., None]
        decay = None
        if layer.forget is not None:
            decay = F.logsigmoid(layer.forget(normed)).cumsum(1).mT
        mixed = pope_attention(*parts, layer.phase, position) if position.doubles else (
            staged.reference_attention(
            *parts, stages_of(config.variant.computes), decay=decay, window=position.window,
            enable_gqa=True,
            distance_slope=torch.tensor(position.slopes).double(),
            distance_bias=None if layer.sink is None else -layer.sink[:, None],
        ))  # fmt: skip
        if layer.taken is not None:
            mixed = mixed[:, ::2] - layer.taken(normed).sigmoid().mT[..., None] * mixed[:, 1::2]
        mixed = mixed.transpose(1, 2).flatten(2)
        if layer.output_gate is not None:
            mixed = mixed * layer.output_gate(normed).sigmoid()
        hidden = hidden + layer.out(mixed)
        hidden = hidden + block.mlp(block.mlp_norm(hidden))
    return model.final_norm(hidden)


def scale_written_out(scale, hidden, position):
    """(B or 1, H, L): m · log N + b of arXiv 2501.19399, or what arXiv 2506.16640 makes of the
    layer's input, 1 for its heads with ALiBi."""
    count = torch.arange(1, 41).double().clamp(max=position.window or 40)
    if scale.kind != "adaptive":
        bias = 0 if scale.bias is None else scale.bias[:, None]
        return (scale.slope[:, None] * count.log() + bias)[None]
    factors, at = torch.ones(1, len(position.kinds), 40).double(), 0
    for head, kind in enumerate(position.kinds):
        if kind != "alibi":
            strength = F.softplus(hidden @ scale.strength.weight[at])
            power = 2 * (hidden @ scale.exponent.weight[at]).tanh()
            factors[:, head] = 1 + strength * (count + 1).log() ** power
            at += 1
    return factors


def test_the_names_have_every_position_and_every_option():
    settings = [Variant.parse(name).setting for name in (*NAMES, DILATED[0])]
    assert frozenset().union(*(each.position.kinds for each in settings)) == set(POSITIONS)
    for option in fields(PLAIN_SETTING):
        usual = getattr(PLAIN_SETTING, option.name)
        assert any(getattr(each, option.name) != usual for each in settings), option.name


@each_name
def test_a_model_is_what_its_name_says(name):
    built = learned(tiny.model(name, scale=4.0))
    found = built.hidden(TOKENS).double()
    torch.testing.assert_close(found, written_out(built, TOKENS), rtol=1e-3, atol=1e-3)


@each_name
def test_every_weight_learns(name):
    built = learned(tiny.model(name)).requires_grad_(True)
    built.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]).mean().backward()
    for parameter, weight in built.named_parameters():
        assert weight.grad.isfinite().all(), parameter
        assert weight.grad.abs().max() > 0, parameter


def test_a_gate_begins_open_and_leaves_the_other_weights_as_they_are():
    plain, gated = (Model(replace(tiny.CONFIG, variant=Variant.parse(name)))
                    for name in ("nope", "fox:output=gated"))  # fmt: skip
    plain.initialise(3)
    gated.initialise(3)
    weights = dict(gated.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in plain.named_parameters())
    bias = gated.blocks[0].attention.forget.bias
    assert (bias == FORGET_BIAS).all()
    assert math.exp(128 * math.log(torch.sigmoid(bias[0]).item())) == pytest.approx(0.1, rel=0.05)


@each_name
def test_the_parameters_are_counted(name):
    built = tiny.model(name)
    assert parameter_count(built.config) == sum(weight.numel() for weight in built.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [*NAMES, "regulargpt:dilate=16"])
def test_a_copy_of_low_precision_keeps_what_grows_along_a_text(name, dtype):
    built = learned(tiny.model(name))
    copied = built.copied(torch.device("cpu"), dtype)
    for parameter, weight in copied.named_parameters():
        kept = torch.float32 if kept_type(parameter) == torch.float32 else dtype
        assert weight.dtype == kept, parameter
    assert all(weight.dtype == torch.float32 for weight in built.parameters())
    wanted, found = (each.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]) for each in (built, copied))
    assert (found - wanted).square().mean().sqrt() < 0.15


def test_the_sum_of_a_gate_is_not_rounded_in_low_precision():
    """A sum of 2,048 log-gates has steps of one and more in bfloat16; a rounded gate cost 0.9 nats
    where bfloat16 costs 0.02."""
    built = tiny.model("fox")
    for block in built.blocks:
        block.attention.forget.bias.data.fill_(1.0)
    tokens = torch.arange(2049)[None] * 7 % 300
    copied = built.copied(torch.device("cpu"), torch.bfloat16)
    wanted, found = (each.token_losses(tokens[:, :-1], tokens[:, 1:]) for each in (built, copied))
    assert (found - wanted).square().mean().sqrt() < 0.05


@each_name
def test_a_saved_model_loads_with_equal_logits(tmp_path, name):
    built = learned(tiny.model(name))
    folder = tiny.save(tmp_path / "mine", built)
    loaded = load_checkpoint(folder)
    assert loaded.config.positions == built.config.positions
    assert loaded.config.variant == built.config.variant
    assert json.loads((folder / CONFIG).read_text())["format"] == 2
    for parameter, weight in load_file(folder / WEIGHTS).items():
        whole = (".forget.", ".scale.", ".sink", "clex.", PHASE)
        is_whole = any(part in parameter for part in whole)
        assert weight.dtype == (torch.float32 if is_whole else torch.bfloat16)
    for parameter, weight in built.named_parameters():
        weight.data = weight.to(kept_type(parameter)).float()
    torch.testing.assert_close(loaded.model(TOKENS), built(TOKENS))


def test_slopes_are_those_of_the_file(tmp_path):
    folder = tiny.save(tmp_path / "mine", tiny.model("alibi"))
    values = json.loads((folder / CONFIG).read_text())
    values["position"]["layers"][1]["slopes"] = [0.5, 0.25]
    (folder / CONFIG).write_text(json.dumps(values))
    loaded = load_checkpoint(folder)
    assert [each.slopes for each in loaded.config.positions] == [(0.0625, 0.00390625), (0.5, 0.25)]
    assert loaded.model.places(4, torch.device("cpu")).slopes[1].tolist() == [0.5, 0.25]


def _layer(**changes):
    return {"heads": ["alibi", "none"], "slopes": [0.5, 0.0], "window": None} | changes


BROKEN = {
    "kind": ({"kind": "rope"}, ["kind must be 'layers'"]),
    "layers": ({"layers": [_layer()]}, ["2 objects, one a layer"]),
    "heads": ({"layers": [_layer(), _layer(heads=["none", "none"])]}, ["by its variant"]),
    "window": ({"layers": [_layer(), _layer(window=5)]}, ["by its variant", '"window": null']),
    "slopes": ({"layers": [_layer(), _layer(slopes=[0.5])]}, ["a number a head"]),
    "a slope": ({"layers": [_layer(), _layer(slopes=[2.0, 0.0])]}, ["above 0 and at most 1"]),
    "no slope": ({"layers": [_layer(), _layer(slopes=[0.5, 0.5])]}, ["0.0", "no alibi"]),
    "key": ({"layers": [_layer(), _layer(decay=1)]}, ["position.layers.decay", "not known"]),
    "base": ({"base": 0}, ["the RoPE base is 0"]),
}


@pytest.mark.parametrize(("changes", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_position_that_is_not_the_variant_s_is_refused(tmp_path, changes, words):
    folder = tiny.save(tmp_path / "mine", tiny.model("softmax:position=alibi/none"))
    values = json.loads((folder / CONFIG).read_text())
    values["position"] |= changes
    (folder / CONFIG).write_text(json.dumps(values))
    with refused(ContentError, words):
        load_checkpoint(folder)


NUMBERS = {
    "clex": {"clex": {"stretches": 16, "widening": 1}},
    "drope": {"drope": {"dropped": 0.125}},
    "softmax:position=random-yarn": {"random": {"stretches": 16}, "yarn": {"stretch": 16}},
}


@pytest.mark.parametrize(("name", "numbers"), NUMBERS.items())
def test_a_file_says_the_numbers_of_its_positions_and_no_others_are_taken(tmp_path, name, numbers):
    folder = tiny.save(tmp_path / "mine", tiny.model(name))
    values = json.loads((folder / CONFIG).read_text())
    assert values["position"]["numbers"] == numbers
    kind = next(iter(numbers))
    for other in ({kind: {"stretches": 8}}, {}, None):
        values["position"]["numbers"] = other
        (folder / CONFIG).write_text(json.dumps(values))
        with refused(ContentError, ["position.numbers is", json.dumps(other), json.dumps(numbers)]):
            load_checkpoint(folder)


def test_clex_begins_with_the_other_weights_as_they_are_and_as_ntk_scaling():
    plain, moved = tiny.model("softmax"), tiny.model("clex")
    weights = dict(moved.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in plain.named_parameters())
    assert 0 < moved.clex.up.abs().max() / 10 <= 1 / math.sqrt(8)
    started = plain.with_modifiers(Variant.parse("softmax+clex-start"), 40)
    for length in (16, 40):
        tokens = TOKENS[:, :length]
        torch.testing.assert_close(moved(tokens), started(tokens), rtol=1e-4, atol=1e-5)


def test_pope_begins_at_angle_0_and_no_decay_draws_it_there():
    plain, polar = Model(tiny.CONFIG), Model(replace(tiny.CONFIG, variant=Variant.parse("pope")))
    plain.initialise(3)
    polar.initialise(3)
    weights = dict(polar.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in plain.named_parameters())
    phases = {name: weight for name, weight in weights.items() if name.endswith(PHASE)}
    assert len(phases) == 2
    for name, phase in phases.items():
        assert phase.shape == (2, 8)
        assert not phase.any()
        assert not is_decayed(name, phase)


def test_drope_is_read_without_positions():
    with_it, without = tiny.model("drope"), tiny.model("nope")
    torch.testing.assert_close(with_it(TOKENS), without(TOKENS), rtol=0, atol=0)


def test_queries_and_keys_of_pope_are_twice_as_large_and_said_to_be():
    built = tiny.model("softmax:position=pope-none", kv_heads=1)
    seen = []
    built.hidden(TOKENS, observe=lambda _, query, key, __: seen.append((query.shape, key.shape)))
    assert seen == [((1, 2, 40, 16), (1, 1, 40, 16)), ((1, 2, 40, 8), (1, 1, 40, 8))]
    assert [each.head_dim for each in built.config.shapes] == [16, 8]


def test_format_1_says_of_a_position_its_base_alone(tmp_path):
    folder = tiny.save(tmp_path / "mine")
    values = json.loads((folder / CONFIG).read_text())
    assert (values["format"], values["position"]) == (1, {"kind": "rope", "base": 10_000.0})
    (folder / CONFIG).write_text(json.dumps(values | {"variant": "nope"}))
    with refused(ContentError, ["softmax:position=none", "its format must be 2"]):
        load_checkpoint(folder)


def test_heads_that_share_a_key_are_rotated_together():
    with refused(UsageError, ["rope/none", "share a key", "all of them alike or none"]):
        tiny.model("softmax:position=rope/none", heads=2, kv_heads=1)
    tiny.model("softmax:position=alibi/none", heads=2, kv_heads=1)


@each_name
def test_a_capture_has_every_layer_s_own_terms_and_window(tmp_path, name):
    """Maps and stages compute a layer's weights again from what was kept."""
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", tiny.model(name, scale=4.0)))
    seen = capture(loaded, TOKENS[0])
    for layer, position in enumerate(loaded.config.positions):
        found = seen.layer(layer)
        shared = len(found.query) // len(found.key)
        assert found.window == position.window
        assert (found.terms.decay is None) == (loaded.config.variant.setting.gate is None)
        weights = staged.stages(
            found.query[None].double(), found.key[None].repeat_interleave(shared, 1).double(),
            stages_of(loaded.config.variant.computes), window=position.window,
            **found.terms.map(lambda each: each.double())._asdict(),
        ).weights[0, 1]  # fmt: skip
        shown = AttentionMap.of(seen, layer, 1).weights(0, 40, 0, 40)
        torch.testing.assert_close(shown.double(), weights, rtol=1e-3, atol=1e-4)
        row = row_stages(seen, layer, 1, 30)
        torch.testing.assert_close(row.weights, weights[30, row.keys], rtol=1e-3, atol=1e-4)
        largest = seen.statistics(layer).largest[1].double()
        torch.testing.assert_close(largest, weights.amax(-1), rtol=1e-3, atol=1e-4)


@each_name
def test_a_window_in_every_layer_leaves_local_layers_their_own(name):
    built = tiny.model(name)
    windowed = built.with_modifiers(Variant.parse(f"{name}+window"), 40)
    short, long = TOKENS[:, -16:], TOKENS
    seen = []
    windowed.hidden(long, observe=lambda _, __, ___, reading: seen.append(reading.window))
    assert seen == [min(16, each.window or 16) for each in built.config.positions]
    torch.testing.assert_close(windowed.hidden(short), built.hidden(short))
