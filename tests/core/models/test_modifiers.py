"""Each modifier is what its source defines, and a model as trained where that says so."""

import copy
import math
import pickle
from dataclasses import dataclass, field

import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import Call, refused
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from freeatten_core import Variant, load_checkpoint
from freeatten_core.analysis import capture
from freeatten_core.basics.errors import UsageError
from freeatten_core.models.modifiers import modified_attention, query_factor, scaled_rope
from freeatten_core.ops.call import Familiar
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.positions.rope import Rope
from freeatten_core.variants.variant import MODIFIERS

TRAINED, DIM = 512, 64
ROPE = Rope(DIM, 10_000.0, TRAINED)


def theta(name, length, longest=8192):
    return scaled_rope(ROPE, Variant.parse(f"softmax+{name}"), longest).frequencies(length)


def factor(name, length, temperatures=None):
    found = query_factor(Variant.parse(f"softmax+{name}"), TRAINED, DIM, temperatures)
    return found(length).tolist()


# Rotation


def test_interpolation_divides_every_position_by_the_stretch():
    torch.testing.assert_close(theta("pi", 100), ROPE.frequencies(100) / 16)


def test_ntk_leaves_the_fastest_pair_and_divides_the_slowest_by_the_stretch():
    plain, scaled = ROPE.frequencies(1), theta("ntk", 1)
    assert float(scaled[0]) == 1
    assert float(scaled[-1]) == pytest.approx(float(plain[-1]) / 16)
    # base 10000 · 16^(64/62) = 174969.0…; θ₈ = base^(−16/64)
    assert float(scaled[8]) == pytest.approx((10_000 * 16 ** (64 / 62)) ** -0.25)


def test_dynamic_ntk_is_ntk_for_the_length_that_is_read():
    torch.testing.assert_close(theta("dynamic-ntk", 2048), theta("ntk", 1, longest=2048))
    torch.testing.assert_close(theta("dynamic-ntk", 300), ROPE.frequencies(300))


@pytest.mark.parametrize("name", ["pi", "ntk", "yarn"])
def test_what_is_set_for_the_longest_length_holds_at_every_length(name):
    assert torch.equal(theta(name, 100), theta(name, 8192))
    assert torch.equal(theta(name, 100, longest=512), ROPE.frequencies(100))


def by_transformers(kind, **parameters):
    """Frequencies and attention factor of the public implementation, at 8,192 tokens."""
    config = LlamaConfig(
        hidden_size=DIM,
        num_attention_heads=1,
        max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": kind, "rope_theta": 10_000.0, **parameters},
    )
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=8192)


@pytest.mark.parametrize(
    ("name", "kind", "stretch"),
    [("pi", "linear", 16.0), ("ntk", "dynamic", 1.0), ("dynamic-ntk", "dynamic", 1.0)],
)
def test_scalings_agree_with_transformers(name, kind, stretch):
    wanted, _ = by_transformers(kind, factor=stretch)
    torch.testing.assert_close(theta(name, 8192).float(), wanted, rtol=1e-5, atol=1e-9)


def test_yarn_agrees_with_transformers_outside_its_ramp():
    """Its ramp is linear in the number of a pair, the paper's (and ours) in the pair's turns."""
    wanted, scale = by_transformers("yarn", factor=16.0, original_max_position_embeddings=TRAINED)
    turns = TRAINED * ROPE.frequencies(1) / (2 * math.pi)
    outside = (turns > 40) | (turns < 0.6)
    assert int(outside.sum()) == 17
    found = theta("yarn", 8192).float()
    torch.testing.assert_close(found[outside], wanted[outside], rtol=1e-5, atol=1e-9)
    assert scaled_rope(ROPE, Variant.parse("softmax+yarn"), 8192).temperature == pytest.approx(
        scale
    )


# Temperatures


def test_logn_by_hand():
    found = factor("logn", 2048)
    assert found[:TRAINED] == [1.0] * TRAINED
    assert found[1023] == pytest.approx(math.log(1024) / math.log(512))  # 10/9
    assert found[1023] == pytest.approx(10 / 9)


def test_infoscale_by_hand():
    found = factor("infoscale", 8192)
    assert found[:TRAINED] == pytest.approx([1.0] * TRAINED)
    # N = 8192, L = 512, D = 64: √(1 − 2^(−26/64)) / √(1 − 2^(−18/64))
    wanted = math.sqrt(1 - 2 ** (-26 / 64)) / math.sqrt(1 - 2 ** (-18 / 64))
    assert found[8191] == pytest.approx(wanted)


def test_infoscale_multiplies_cosines_times_a_number():
    """CosScale with InfoScale (arXiv 2501.08570): s · f · cos, f as for dot products."""
    built = tiny.model("cosine:s=32")
    changed = built.with_modifiers(Variant.parse("cosine:s=32+infoscale"), 64)
    query, key, value = Call(64, 64, dim=8, value_dim=8).tensors()
    dim, trained = 8, built.config.train_length
    grown = torch.arange(1, 65).double().clamp(min=trained)
    grown = ((1 - grown ** (-2 / dim)) / (1 - trained ** (-2 / dim))).sqrt()
    cosines = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
    scores = (32 * grown[:, None] * cosines).masked_fill(
        torch.ones(64, 64).triu(1).bool(), -torch.inf
    )
    found = changed.attend(query, key, value, built.config.variant.computes)
    torch.testing.assert_close(found, scores.softmax(-1) @ value)
    tokens = torch.arange(64)[None] * 7 % 300
    torch.testing.assert_close(
        changed.hidden(tokens)[:, :trained], built.hidden(tokens)[:, :trained],
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    assert (changed.hidden(tokens) - built.hidden(tokens))[:, -1].abs().max() > 1e-3
    assert torch.equal(pickle.loads(pickle.dumps(changed))(tokens), changed(tokens))


def test_maps_do_not_show_infoscale_of_cosines(tmp_path):
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", tiny.model("cosine:s=32")))
    with refused(UsageError, ["cosine:s=32+infoscale", "do not keep", "freeatten compare"]):
        capture(loaded, torch.arange(20), variant="cosine:s=32+infoscale")


def test_temper_by_hand():
    found = factor("temper", 8192)
    assert found[:TRAINED] == [1.0] * TRAINED
    assert found[TRAINED] == found[2 * TRAINED - 1] == pytest.approx(1 + 0.1 * math.log(2))
    assert found[8191] == pytest.approx(1 + 0.1 * math.log(16))


def test_a_temperature_is_that_of_the_shortest_fitted_length_that_holds_the_text():
    fitted = {1024: 1.5, 4096: 2.0}
    assert factor("align", 512, fitted)[0] == 1
    assert factor("align", 513, fitted) == [1.5] * 513
    assert factor("align", 1025, fitted)[0] == 2
    with refused(UsageError, ["4,096", "4,097"]):
        factor("align", 4097, fitted)


def test_align_without_temperatures_says_who_fits_them():
    with refused(UsageError, ["align", "freeatten compare"]):
        query_factor(Variant.parse("softmax+align"), TRAINED, DIM, None)


@pytest.mark.parametrize("name", ["yarn", "window", "swap:to=lssa"])
def test_other_modifiers_leave_queries_alone(name):
    assert query_factor(Variant.parse(f"softmax+{name}"), TRAINED, DIM, None) is None


# The operator


def vectors(length):
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, 2, length, 8, generator=draw) for _ in range(3))


SHORT = Rope(8, 10_000.0, 16)


def attended(name):
    attend = modified_attention(grouped_attention, SHORT, Variant.parse(name))
    return attend(*vectors(40), Variant.parse(name).trained.computes)


def test_a_window_is_of_the_training_length():
    expected = staged.reference_attention(*vectors(40), "lssar:p=3", window=16)
    torch.testing.assert_close(attended("lssar:p=3+window"), expected, rtol=1e-4, atol=1e-5)


def test_a_swap_computes_the_other_variant():
    expected = staged.reference_attention(*vectors(40), "lssar:p=3")
    torch.testing.assert_close(attended("lssa+swap:to=lssar:p=3"), expected, rtol=1e-4, atol=1e-5)


def test_rerope_changes_no_row_that_sees_only_familiar_distances():
    near, plain = attended("softmax+rerope"), attended("softmax")
    torch.testing.assert_close(near[:, :, :16], plain[:, :, :16])
    assert (near - plain)[:, :, 16:].abs().amax() > 1e-3


@dataclass(frozen=True)
class Recording:
    """An operator of one's own: notes what it is asked for and gives zeros."""

    asked: list = field(default_factory=list)

    def __call__(self, *given, **others):
        *_, value, computed = given
        self.asked.append((str(computed), others))
        return torch.zeros_like(value)


@pytest.mark.parametrize(
    ("name", "computed", "others"),
    [
        ("softmax+yarn", "softmax", {}),
        ("lssa+window", "lssa", {"window": 16}),
        ("lssa+rerope", "lssa", {"familiar": Familiar(SHORT, rotation=True)}),
        ("lssa+swap:to=relu", "relu", {}),
        ("softmax+swap:to=lssa+window", "lssa", {"window": 16}),
    ],
)
def test_every_modifier_goes_through_the_operator_that_a_model_has(name, computed, others):
    mine, variant = Recording(), Variant.parse(name)
    attend = modified_attention(mine, SHORT, variant)
    assert not attend(*vectors(20), variant.trained.computes).any()
    assert mine.asked == [(computed, others)]


# The model


@pytest.mark.parametrize(
    "name",
    ["dynamic-ntk", "clex-start", "rerope", "logn", "infoscale", "temper", "window"],
)
def test_up_to_the_training_length_a_model_is_as_trained(name):
    built = tiny.model()
    tokens = torch.arange(built.config.train_length)[None] % built.config.vocab_size
    changed = built.with_modifiers(Variant.parse(f"softmax+{name}"), 64)
    torch.testing.assert_close(changed(tokens), built(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["pi", "ntk", "dynamic-ntk", "clex-start", "yarn", "rerope", "logn", "infoscale", "temper",
     "window"],
)  # fmt: skip
def test_beyond_it_every_modifier_changes_the_model(name):
    built = tiny.model()
    tokens = torch.arange(64)[None] % built.config.vocab_size
    changed = built.with_modifiers(Variant.parse(f"softmax+{name}"), 64)
    assert (changed(tokens) - built(tokens))[:, -1].abs().amax() > 1e-5
    assert changed.embedding is built.embedding


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "pickle"],
)
@pytest.mark.parametrize("name", MODIFIERS)
def test_a_modified_model_can_be_copied_and_pickled(name, copied):
    variant = Variant.parse("softmax+" + name.replace("swap", "swap:to=lssa"))
    tokens = torch.arange(40)[None] * 7
    model = tiny.model().with_modifiers(variant, 64, {64: 1.2})
    assert torch.equal(copied(model)(tokens), model(tokens))


# Names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("softmax+yarn+pi", ["yarn and pi", "rotation"]),
        ("softmax+logn+align", ["logn and align", "temperature"]),
        ("lssa+logn", ["logn", "length-cosine", "does not depend"]),
        ("relu+infoscale", ["infoscale", "relu"]),
        ("cosine:s=32+logn", ["logn", "cosine", "does not depend"]),
        ("cosine:s=32+infoscale+swap:to=cosine:s=64", ["infoscale", "does not depend"]),
        ("softmax+window+yarn", ["window", "yarn", "nothing to do"]),
        ("softmax+swap", ["swap:to="]),
        ("softmax+swap:to=softmax", ["there already"]),
        ("softmax+swap:to=lsar", ["'lsar'", "lssar"]),
        ("softmax+align:by=mean", ["by is 'mean'", "largest or entropy"]),
        ("softmax+align:of=entropy", ["'of'", "it takes by"]),
        ("softmax+window:size=3", ["'size'", "no option"]),
        ("softmax+yarn+yarn", ["once"]),
    ],
)
def test_what_cannot_go_together_is_refused_with_the_reason(text, words):
    with refused(UsageError, words):
        Variant.parse(text)


@given(
    st.sampled_from(
        [
            "softmax+swap:to=lssar:p=3",
            "softmax+align:by=entropy+pi",
            "lssar:p=15+rerope",
            "lssa+swap:to=stages:score=dim-cosine:positivity=exp:normalise=count+window",
        ]
    )
)
def test_names_parse_back(text):
    assert str(Variant.parse(text)) == text


def test_a_swapped_variant_is_trained_as_one_and_computed_as_another():
    variant = Variant.parse("lssa+swap:to=lssar:p=3+rerope")
    assert str(variant.trained) == "lssa"
    assert str(variant.computes) == "lssar:p=3"
