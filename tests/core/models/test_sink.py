"""A sink: one more key in every row's denominator, of a learned score and no value."""

from dataclasses import replace

import pytest
import tiny
import torch
from strategies import Call

from freeatten_core import Variant
from freeatten_core.models.decoder import Attention, Model
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.variants.stages import Stages

SINKS = [0.5, -1.0]


def layer(**options):
    built = Attention(replace(tiny.CONFIG, variant=Variant.parse("sink"), **options), 0)
    with torch.no_grad():
        built.sink.copy_(torch.tensor(SINKS))
    return built.double()


def as_a_key(query, key, value, sinks):
    """GPT-OSS as it is written: the sink's score joins each row, softmax, its weight is dropped."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    scores = scores.masked_fill(hidden, -torch.inf)
    column = sinks[:, None, None].expand(*scores.shape[:3], 1)
    return torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1] @ value


def test_a_row_shares_with_its_sink():
    """By hand: one key of score 0 and a sink of score log 3 have a quarter and three."""
    query = key = torch.zeros(1, 1, 1, 4).double()
    value = torch.ones(1, 1, 1, 4).double()
    built = layer()
    with torch.no_grad():
        built.sink.fill_(torch.tensor(3.0).log())
    terms = built.terms(query, query).of_head(0)
    found = grouped_attention(query, key, value, Stages(normalise="off-by-one"), terms=terms)
    torch.testing.assert_close(found, torch.full_like(value, 0.25))


def test_output_and_gradients_are_those_of_a_key_with_its_score():
    built, tensors = layer(), Call(40, 40).tensors()
    leaves = [*(x.requires_grad_() for x in tensors), built.sink]
    found = grouped_attention(
        *tensors, Stages(normalise="off-by-one"), terms=built.terms(tensors[0], tensors[0])
    )
    wanted = as_a_key(*leaves)
    torch.testing.assert_close(found, wanted)
    mixture = torch.linspace(-1, 1, wanted.numel()).double().view_as(wanted)
    grads = [torch.autograd.grad(out, leaves, mixture) for out in (found, wanted)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["sink", "off-by-one"])
def test_a_sink_begins_as_off_by_one(name):
    built = Model(replace(tiny.CONFIG, variant=Variant.parse(name)))
    built.initialise(3)
    other = Model(replace(tiny.CONFIG, variant=Variant.parse("off-by-one")))
    other.initialise(3)
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(built(tokens), other(tokens))
