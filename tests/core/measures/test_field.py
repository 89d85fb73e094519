"""The receptive field: gradients as differences show them, and a window's reach exactly."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from strategies import refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.measures.field import (
    FieldRequest,
    distances_of,
    measure_field,
    receptive_field,
    shares,
)
from freeatten_core.models.decoder import Model
from freeatten_core.models.rows import Row

TOKENS = torch.arange(40, 52)
TARGET = 7


def model_of(variant="softmax", layers=2, train_length=4):
    config = replace(
        tiny.CONFIG, variant=Variant.parse(variant), layers=layers, train_length=train_length
    )
    model = Model(config)
    model.initialise(0, 0.3)
    return model.requires_grad_(False)


def loss_moved(model, token, moved):
    """The last loss where a token's embedding is moved."""

    def move(_module, _inputs, output):
        output = output.clone()
        output[0, token] += moved
        return output

    hook = model.embedding.register_forward_hook(move)
    logits = model(TOKENS[None])[0, -1]
    hook.remove()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(TARGET)))


@pytest.mark.parametrize("variant", ["softmax", "lssar:p=3", "sigmoid"])
def test_shares_are_those_of_differences(variant):
    model = model_of(variant).double()
    step, norms = 3e-3, []  # rotations are float32, which a smaller step would feel
    for token in range(len(TOKENS)):
        slopes = []
        for axis in range(model.config.width):
            moved = torch.zeros(model.config.width, dtype=torch.float64)
            moved[axis] = step
            forward, back = (loss_moved(model, token, sign * moved) for sign in (1, -1))
            slopes.append((forward - back) / (2 * step))
        norms.append(np.linalg.norm(slopes))
    expected = np.array(norms)[::-1] / np.sum(norms)
    assert shares(model, TOKENS, TARGET) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_window_reaches_as_far_as_its_layers_take_it(layers):
    """Of each layer the window less the token itself."""
    windowed = model_of(layers=layers).with_modifiers(Variant.parse("softmax+window"), 12)
    found = shares(windowed, TOKENS, TARGET)
    reach = layers * (4 - 1) + 1
    assert (found[:reach] > 0).all()
    assert (found[reach:] == 0).all()
    assert receptive_field(found) <= reach
    assert (shares(model_of(layers=layers), TOKENS, TARGET) > 0).all()


def test_a_model_is_left_as_it_was():
    model = model_of()
    before = model(TOKENS[None])
    shares(model, TOKENS, TARGET)
    assert torch.equal(model(TOKENS[None]), before)
    assert not model.embedding._forward_hooks
    assert model.layer.__func__ is Model.layer


@pytest.mark.parametrize(
    ("values", "tokens"),
    [([1.0], 1), ([0.5, 0.3, 0.195, 0.005], 3), ([0.5, 0.3, 0.18, 0.02], 4), ([0.995, 0.005], 1)],
)
def test_the_field_is_the_fewest_tokens_with_99_percent(values, tokens):
    assert receptive_field(np.array(values)) == tokens


def test_distances_double_to_the_length():
    assert distances_of(8) == [1, 2, 4, 8]
    assert distances_of(11) == [1, 2, 4, 8, 11]
    assert distances_of(1) == [1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(tiny.save(tmp_path_factory.mktemp("models") / "tiny"))


def measured(checkpoint, *variants, watch=None, **changes):
    rows = [Row(Variant.parse(each), checkpoint) for each in variants or ("softmax",)]
    values = {
        "rows": rows,
        "documents": tiny.documents(5),
        "source": "tiny",
        "length": 32,
        "command": "freeatten field",
        "texts": 3,
    }
    return measure_field(FieldRequest(**values | changes), watch)


def test_a_row_has_the_mean_and_interval_over_texts(checkpoint):
    done, whole = [], []
    watch = Watch(total=whole.append, advance=done.append)
    result = measured(checkpoint, "softmax", "softmax+window", watch=watch)
    assert sum(done) == pytest.approx(whole[0])
    for row in result["variants"]:
        fields = row["field_by_text"]
        half = stats.t.ppf(0.975, 2) * stats.sem(fields)
        assert row["field"] == pytest.approx(np.mean(fields), abs=1e-5)
        assert row["field_ci95"] == pytest.approx(
            [np.mean(fields) - half, np.mean(fields) + half], abs=1e-4
        )
        assert np.diff(row["share"]).min() >= 0
        assert row["share"][-1] == pytest.approx(1)
    assert result["distances"] == [1, 2, 4, 8, 16, 32]
    assert (result["texts"], result["length"], result["train_length"]) == (3, 32, 16)


LAYERS_DIFFER = (
    "softmax:position=alibi@9-none",
    "softmax:position=clex-pope",
    "regulargpt:dilate=4/own",
)


@pytest.mark.parametrize("name", LAYERS_DIFFER)
def test_models_whose_layers_differ_have_a_field(tmp_path, name):
    built = tiny.model(name)
    found = measured(load_checkpoint(tiny.save(tmp_path / "mine", built)), name, texts=2)
    (row,) = found["variants"]
    assert 1 <= row["field"] <= 32
    assert row["share"][-1] == pytest.approx(1)


@pytest.mark.parametrize("name", LAYERS_DIFFER)
def test_their_shares_are_those_of_a_gradient_through_all_layers_at_once(name):
    model, seen = tiny.model(name, scale=4.0), []

    def kept(_module, _inputs, output):
        seen.append(output.detach().requires_grad_())
        return seen[0]

    hook = model.embedding.register_forward_hook(kept)
    logits = model(TOKENS[None])[0, -1]
    hook.remove()
    torch.nn.functional.cross_entropy(logits, torch.tensor(TARGET)).backward()
    norms = seen[0].grad[0].double().norm(dim=-1).flip(0)
    assert norms.min() > 0
    found = shares(model, TOKENS, TARGET)
    np.testing.assert_allclose(found, (norms / norms.sum()).numpy(), rtol=1e-4, atol=1e-7)


def test_the_seed_chooses_the_texts(checkpoint):
    one, same, other = (measured(checkpoint, seed=seed)["variants"] for seed in (0, 0, 1))
    assert one == same
    assert one[0]["share"] != other[0]["share"]


def test_what_has_no_gradient_is_a_row_with_a_reason(checkpoint):
    good, bad = measured(checkpoint, "softmax", "softmax+rerope")["variants"]
    assert good["field"] is not None
    assert bad["field"] is None
    assert "rerope has no gradient" in bad["error"]


def test_a_text_that_no_file_holds_is_refused(checkpoint):
    with refused(UsageError, ["too short", "100,001 are needed"]):
        measured(checkpoint, length=100_000)
