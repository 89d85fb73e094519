"""Diff attention: a head is two attentions on the same values, one taken from the other."""

import pytest
import tiny
import torch

from freeatten_core import load_checkpoint
from freeatten_core.analysis import AttentionMap, capture
from freeatten_core.models.config import LayerShape


def test_what_both_attend_to_alike_is_taken_away():
    """By hand: two equal attentions, and half of the second taken: half of one of them is left."""
    plain, built = tiny.model("softmax:position=none"), tiny.model("diff:position=none")
    with torch.no_grad():
        for one, other in zip(built.blocks, plain.blocks, strict=True):
            heads = other.attention.query.weight.view(2, 1, 8, 16)
            one.attention.query.weight.copy_(heads.expand(2, 2, 8, 16).reshape(32, 16))
            one.attention.taken.weight.zero_()  # the sigmoid of 0 is a half
            for part in ("key", "value"):
                weight = getattr(other.attention, part).weight
                getattr(one.attention, part).weight.copy_(weight)
            one.attention.out.weight.copy_(2 * other.attention.out.weight)
            for part in ("gate", "up", "down"):
                getattr(one.mlp, part).weight.copy_(getattr(other.mlp, part).weight)
        built.embedding.weight.copy_(plain.embedding.weight)
    tokens = torch.arange(30)[None] * 7 % 300
    torch.testing.assert_close(built.hidden(tokens), plain.hidden(tokens), rtol=1e-4, atol=1e-4)


def test_a_head_can_point_away_from_a_key():
    """Weights of a difference can lie below 0, which those of no other row can."""
    built = tiny.model("diff:position=none")
    attention = built.blocks[0].attention
    draw = torch.Generator().manual_seed(2)
    normed = torch.randn(1, 12, 16, generator=draw)
    query, key = attention.query_key(normed, built.places(12, torch.device("cpu")).angles)
    scores = query @ key.repeat_interleave(2, 1).mT / 8**0.5
    weights = scores.masked_fill(torch.ones(12, 12).triu(1).bool(), -torch.inf).softmax(-1)
    share = attention.taken(normed).sigmoid().mT[..., None]
    difference = weights[:, ::2] - share * weights[:, 1::2]
    assert (difference < 0).any()
    torch.testing.assert_close(difference.sum(-1), 1 - share[..., 0])


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_both_attentions_of_a_head_are_shown(tmp_path, kv_heads):
    built = tiny.model("diff", kv_heads=kv_heads)
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", built))
    assert loaded.layers[0] == LayerShape(4, kv_heads, 8)
    seen = capture(loaded, torch.arange(30) * 7 % 300)
    assert seen.heads == 4
    maps = [AttentionMap.of(seen, 1, head).weights(0, 30, 0, 30) for head in range(4)]
    for shown in maps:
        torch.testing.assert_close(shown.sum(-1), torch.ones(30))
    assert not torch.equal(maps[0], maps[1])
