"""What heads learn to multiply their scores with (SSMax, ASEntmax)."""

import math
from dataclasses import replace

import pytest
import tiny
import torch

from freeatten_core import Variant, attention_weights
from freeatten_core.models.decoder import Model
from freeatten_core.models.learned_scale import LearnedScale
from freeatten_core.ops.definitions.staged import stages


def scale_of(kind, positions=("none",), **values):
    built = LearnedScale(kind, 2, positions, 16)
    with torch.no_grad():
        built.start()
        for name, value in values.items():
            dict(built.named_parameters())[name].copy_(torch.tensor(value))
    return built.double()


def keys_and_query(scores):
    """Vectors of one number each, whose scores in the last row are the given ones."""
    key = torch.tensor(scores).double()[None, None, :, None]
    return torch.ones_like(key), key


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_ssmax_is_a_softmax_to_the_base_of_n(count):
    """The case of arXiv 2501.19399, figure 1: all keys have -2, the last has 3, and s is 0.43."""
    query, key = keys_and_query([-2.0] * (count - 1) + [3.0])
    scaled = scale_of("log-n", slope=[0.43])(query, torch.zeros(1, count, 2).double(), None)
    weights = attention_weights(scaled, key, "softmax", rows=slice(count - 1, count))
    highest = count ** (0.43 * 3)
    wanted = highest / (highest + (count - 1) * count ** (0.43 * -2))
    assert weights[0, 0, 0, -1].item() == pytest.approx(wanted, rel=1e-5)
    assert wanted > 0.93  # "close to 1, regardless of the input size"


def test_the_bias_is_what_is_left_where_one_key_is_seen():
    query, _ = keys_and_query([0.0] * 8)
    scale = scale_of("log-n-bias", slope=[0.5], bias=[2.0])
    found = scale(query, torch.zeros(1, 8, 2).double(), None)[0, 0, :, 0]
    wanted = [0.5 * math.log(n) + 2 for n in range(1, 9)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-6)
    local = scale(query, torch.zeros(1, 8, 2).double(), 3)[0, 0, :, 0]
    assert local.tolist() == pytest.approx(wanted[:3] + wanted[2:3] * 5, rel=1e-6)


def test_asentmax_is_entmax_of_scores_by_the_query_s_own_factor():
    """arXiv 2506.16640 by hand: with x = (1, 0), w = (0, 1) and u = (artanh(1/2), 0), softplus is
    log 2 and the exponent 1, so row N has the factor 1 + log 2 · log(N + 1)."""
    query, key = keys_and_query([0.0, 1.0, 0.5])
    weights = {"strength.weight": [[0.0, 1.0]], "exponent.weight": [[math.atanh(0.5), 0.0]]}
    scale = scale_of("adaptive", **weights)
    scaled = scale(query, torch.tensor([[[1.0, 0.0]] * 3]).double(), None)
    factors = [1 + math.log(2) * math.log(n + 1) for n in (1, 2, 3)]
    assert scaled[0, 0, :, 0].tolist() == pytest.approx(factors, rel=1e-6)
    scores = torch.tensor([0.0, 1.0, 0.5]).double() * factors[2] / 2
    # of a support of two, its threshold solves (a - t)^2 + (b - t)^2 = 1
    low, high = scores[2], scores[1]
    threshold = (low + high - (2 - (high - low) ** 2) ** 0.5) / 2
    assert threshold > scores[0]
    wanted = torch.relu(scores - threshold) ** 2
    found = stages(scaled, key, "entmax15").weights[0, 0, 2]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_heads_with_alibi_have_no_factor():
    query = torch.ones(1, 2, 5, 1).double()
    scaled = scale_of("adaptive", ("alibi", "none"), **{"strength.weight": [[0.0, 0.0]],
                      "exponent.weight": [[0.0, 0.0]]})  # fmt: skip
    found = scaled(query, torch.ones(1, 5, 2).double(), None)[0, :, :, 0]
    torch.testing.assert_close(found[0], torch.ones(5).double())
    torch.testing.assert_close(found[1], torch.full((5,), 1 + math.log(2)).double())


def test_a_scale_begins_at_softmax_s_own_at_the_training_length():
    names = ("softmax", "ssmax-bias", "softmax:scale=adaptive")
    plain, grown, adaptive = (Model(replace(tiny.CONFIG, variant=Variant.parse(x))) for x in names)
    for built in (plain, grown, adaptive):
        built.initialise(3)
    weights = dict(grown.named_parameters()), dict(adaptive.named_parameters())
    for name, weight in plain.named_parameters():
        assert all(torch.equal(each[name], weight) for each in weights), name
    scale = grown.blocks[0].attention.scale
    query = torch.ones(1, 2, tiny.CONFIG.train_length, 1)
    factor = scale(query, torch.ones(1, tiny.CONFIG.train_length, 16), None)[0, :, -1, 0]
    assert factor.tolist() == pytest.approx([1.0, 1.0])
    drawn = adaptive.blocks[0].attention.scale.strength.weight
    assert drawn.std().item() == pytest.approx(0.02, rel=0.5)
