"""Under `torch.autocast` everything that is read of an attention is what it is without."""

from dataclasses import fields

import pytest
import torch
from captures import checkpoint, text

from freeatten_core import attention_weights, row_statistics
from freeatten_core.analysis import AttentionMap, capture, reach, thumbnails
from freeatten_core.basics.precision import DEVICE_TYPES, without_autocast
from freeatten_core.measures.field import shares
from freeatten_core.ops.definitions import own_function
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.variant import Variant

VARIANTS = ("softmax", "lssar:p=15", "relu", "stick-breaking", "entmax15", "softpick")
each_variant = pytest.mark.parametrize("variant", VARIANTS)
with_terms = pytest.mark.parametrize("variant", [*VARIANTS, "softmax:gate=forget"])


def vectors(length=300):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, length, 8, generator=draw) for _ in range(3)]


def both(work):
    """What work gives, without and under autocast."""
    plain = work()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return plain, work()


@each_variant
def test_row_statistics(variant):
    query, key, _ = vectors()
    plain, cast = both(lambda: row_statistics(query, key, variant))
    for field in fields(RowStatistics):
        assert torch.equal(getattr(plain, field.name), getattr(cast, field.name)), field.name
    assert (cast.mean_distance >= 0).all()


@each_variant
def test_weights(variant):
    query, key, _ = vectors()
    assert torch.equal(*both(lambda: attention_weights(query, key, variant)))


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})
    (tmp_path / "mine.py").write_text(
        "def near(q, k, v): return (q @ k.mT / 4).sigmoid().tril() @ v\n"
    )
    mine = own_function.allow(Variant.parse(f"{tmp_path}/mine.py:near"))
    query, key, _ = vectors(40)
    assert torch.equal(*both(lambda: attention_weights(query, key, mine)))


def test_a_receptive_field():
    model, tokens = checkpoint("lssar:p=15").model, text(80)
    plain, cast = both(lambda: shares(model, tokens, 5))
    assert (plain == cast).all()


@with_terms
def test_captures_maps_and_what_is_made_of_them(variant):
    def seen():
        return capture(checkpoint(variant), text(200))

    plain, cast = both(seen)
    for one, other in zip(plain.layers.values(), cast.layers.values(), strict=True):
        assert torch.equal(one.query, other.query)
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.rows.mean_distance, other.rows.mean_distance)
    first, second = both(lambda: AttentionMap.of(plain, 1, 0))
    assert all((first.levels[cell] == second.levels[cell]).all() for cell in first.levels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = second.weights(100, 140, 0, 140)
    assert torch.equal(near, first.weights(100, 140, 0, 140))
    small, again = both(lambda: thumbnails(plain))
    assert all((small.codes[layer] == again.codes[layer]).all() for layer in small.codes)
    back, once_more = both(lambda: reach.reach(plain, 0, 100, 200))
    assert torch.equal(back.by_distance, once_more.by_distance)


@pytest.mark.parametrize("device_type", DEVICE_TYPES)
def test_autocast_is_off_inside_and_as_before_behind(device_type):
    before = torch.is_autocast_enabled(device_type)
    torch.set_autocast_enabled(device_type, True)
    try:
        with without_autocast():
            assert not torch.is_autocast_enabled(device_type)
        assert torch.is_autocast_enabled(device_type)
    finally:
        torch.set_autocast_enabled(device_type, before)
