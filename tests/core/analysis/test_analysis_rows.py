import math
from dataclasses import replace

import pytest
import torch
from captures import HEADS, dense_layer, learned_capture, random_capture, with_query
from strategies import VARIANTS, refused, stages

from freeatten_core import Variant
from freeatten_core.analysis import (
    STATISTICS,
    by_position,
    entropy_note,
    head_table,
    sink_rate,
    statistic,
    uniform_rule_share,
)
from freeatten_core.analysis.rows import SINK_THRESHOLD
from freeatten_core.basics.errors import UsageError

each_variant = pytest.mark.parametrize("variant", VARIANTS)


def dense_statistic(result, name):  # noqa: PLR0911  (one a statistic)
    """(H, L) from the dense matrices."""
    weights, visible = result.weights[0], result.visible
    count = visible.sum(-1).double()
    mass = weights.sum(-1)
    shares = weights / torch.where(mass == 0, 1.0, mass)[..., None]
    entropy = torch.special.entr(shares).sum(-1)
    own = torch.arange(len(visible))
    match name:
        case "entropy":
            return entropy
        case "relative_entropy":
            return torch.where(count == 1, torch.nan, entropy / count.log())
        case "entropy_tokens":
            return torch.where(mass == 0, 0.0, entropy.exp())
        case "effective_tokens":
            squares = shares.square().sum(-1)
            return torch.where(squares == 0, 0.0, 1 / squares)
        case "largest":
            return weights.amax(-1)
        case "first":
            return weights[..., 0]
        case "mean_distance":
            return (shares * (own[:, None] - own)).sum(-1)
        case "zeros":
            share = result.normalise[0] * count[:, None]
            sharp = result.weights is not result.normalise
            uniform = share.amax(-1, keepdim=True) <= 1 + 1e-4
            offset = torch.where(uniform | (count[:, None] <= 3), 0.0, 1.0)
            zero = share <= offset if sharp else result.positivity[0] == 0
            return (zero & visible).sum(-1) / count
        case "small":
            return ((weights < 1e-6) & visible).sum(-1) / count
        case "row_sum":
            return mass


@pytest.mark.parametrize("made", [random_capture, learned_capture])
@each_variant
def test_equal_the_dense_reference(variant, made):
    capture = made(variant)
    for layer in capture.layers:
        dense = dense_layer(capture, layer)
        for name in STATISTICS:
            actual = statistic(capture, name, layer)
            assert actual.shape == (HEADS, capture.length), name
            torch.testing.assert_close(
                actual,
                dense_statistic(dense, name),
                rtol=1e-7,
                atol=1e-9,
                equal_nan=True,
                msg=lambda told, name=name: f"{name}: {told}",
            )


def test_a_row_that_reads_nothing_has_no_entropy_and_no_tokens():
    capture = random_capture("relu")
    blind = with_query(capture, torch.zeros_like(capture.layers[0].query))
    for name in ("entropy", "entropy_tokens", "effective_tokens", "first", "row_sum"):
        assert (statistic(blind, name, 0) == 0).all()
    assert (statistic(blind, "zeros", 0) == 1).all()


@each_variant
def test_says_when_the_entropy_is_of_the_normalised_row(variant):
    capture = random_capture(variant)
    note = entropy_note(capture)
    computed = stages(variant)
    words = "divided by its sum"
    if computed.needs_order:
        words = "the remainder, is counted as the weight of the row's own key"
    assert bool(note) == (computed.needs_order or not computed.sums_to_one)
    assert not note or (words in note and variant in note)
    assert head_table(capture).note == note


def test_a_curve_is_the_mean_of_equal_stretches():
    capture = random_capture("lssar:p=15", 40)
    values = statistic(capture, "entropy", 2)
    centres, means = by_position(capture, "entropy", 2, points=10)
    assert centres.tolist() == [1.5 + 4 * index for index in range(10)]
    torch.testing.assert_close(means, values.view(HEADS, 10, 4).mean(-1))


def test_a_curve_has_a_point_a_row_at_most_and_leaves_undefined_rows_out():
    capture = random_capture("softmax", 7)
    centres, means = by_position(capture, "relative_entropy", 0, points=512)
    assert centres.tolist() == list(range(7))
    assert means[:, 0].isnan().all()
    _, coarse = by_position(capture, "relative_entropy", 0, points=2)
    assert coarse.isfinite().all()


def test_a_table_of_heads_has_their_means():
    capture = random_capture("softmax")
    table = head_table(capture, 10, 30)
    assert [(head.layer, head.head) for head in table] == [
        (layer, head) for layer in (0, 2) for head in range(HEADS)
    ]
    for head in table:
        for name in STATISTICS:
            rows = statistic(capture, name, head.layer)[head.head, 10:30]
            assert head.values[name] == pytest.approx(float(rows.mean()))


def test_a_table_leaves_out_the_row_with_one_key():
    capture = random_capture("softmax")
    rows = statistic(capture, "relative_entropy", 0)[1, 1:]
    mean = head_table(capture).heads[1].values["relative_entropy"]
    assert mean == pytest.approx(float(rows.mean()))


@pytest.mark.parametrize("by", [*STATISTICS, "sink"])
@pytest.mark.parametrize("descending", [True, False])
def test_a_table_is_sorted_by_any_column(by, descending):
    table = head_table(random_capture("softmax", 70)).sorted(by, descending=descending)
    column = [head.sink if by == "sink" else head.values[by] for head in table]
    assert column == sorted(column, reverse=descending)
    assert len(table) == 2 * HEADS


def test_heads_without_a_value_come_last():
    capture = random_capture("softmax")
    table = head_table(capture, 0, 1).sorted("relative_entropy")
    assert all(math.isnan(head.values["relative_entropy"]) for head in table)
    assert [head.sink for head in head_table(capture).sorted("sink")] == [None] * len(table)


@each_variant
def test_the_sink_rate_is_the_mean_share_of_the_first_token(variant):
    capture = random_capture(variant, 70)
    expected = []
    for layer in capture.layers:
        weights = dense_layer(capture, layer).weights[0, :, :64]
        mass = weights.sum(-1)
        expected.append((weights[..., 0] / torch.where(mass == 0, 1.0, mass)).mean(-1))
    expected = torch.stack(expected)
    rate = sink_rate(capture, threshold=0.1)
    torch.testing.assert_close(rate.received, expected)
    assert rate.share == pytest.approx(float((expected > 0.1).double().mean()))
    assert [head.sink for head in head_table(capture)] == pytest.approx(expected.flatten().tolist())


def test_heads_that_always_read_the_first_token_are_sinks():
    capture = random_capture("softmax", 70)
    first = capture.layers[0]
    key = first.key.clone()
    key[:, 0] = 20.0
    layers = {**capture.layers, 0: replace(first, key=key)}
    sinks = with_query(replace(capture, layers=layers), torch.ones_like(first.query))
    assert sink_rate(sinks).share == 0.5  # the other layer has no such key
    found = head_table(sinks).sorted("sink").heads
    assert {head.layer for head in found[:HEADS]} == {0}
    assert found[HEADS - 1].sink > SINK_THRESHOLD > found[HEADS].sink


@each_variant
def test_the_rule_for_uniform_rows_fires_on_uniform_rows_only(variant):
    capture = random_capture(variant)
    sharp = stages(variant).sharpen is not None
    rule = uniform_rule_share(capture)
    assert rule.applies == sharp
    assert (rule.fired, rule.rows) == (0, 2 * HEADS * 37)
    query = capture.layers[0].query.clone()
    query[:, 10:20] = 0
    rule = uniform_rule_share(with_query(capture, query))
    assert rule.share == pytest.approx(10 / 37 if sharp else 0)
    torch.testing.assert_close(rule.by_head, torch.full((2, HEADS), 10 / 37 if sharp else 0.0))


@pytest.mark.parametrize(
    ("swapped", "computed", "share"),
    [
        ("lssar:p=15+swap:to=softmax-ls", "softmax-ls", 0.0),
        ("softmax+swap:to=lssar:p=15", "lssar:p=15", 1.0),
    ],
)
def test_the_rule_is_that_of_the_attention_that_computes(swapped, computed, share):
    capture = random_capture(computed)
    blind = with_query(capture, torch.zeros_like(capture.layers[0].query))
    rule = uniform_rule_share(replace(blind, variant=Variant.parse(swapped)))
    assert rule.applies == (share > 0)
    assert rule.share == share


def test_rows_that_see_three_keys_alone_are_not_for_the_rule():
    capture = random_capture("lssar:p=3")
    blind = with_query(capture, torch.zeros_like(capture.layers[0].query))
    local = replace(blind.layers[0], window=3)
    rule = uniform_rule_share(replace(blind, layers={0: local, 2: blind.layers[2]}))
    assert rule.rows == HEADS * 37
    assert rule.by_head.tolist() == [[0.0] * HEADS, [1.0] * HEADS]


def test_short_texts_have_no_row_for_the_rule():
    rule = uniform_rule_share(random_capture("lssar:p=3", 3))
    assert (rule.rows, rule.share) == (0, 0.0)


def test_errors_name_what_is_wrong():
    capture = random_capture("softmax")
    with refused(UsageError, ["no statistic 'entropi'", "did you mean 'entropy'"]):
        statistic(capture, "entropi", 0)
    with refused(UsageError, ["layer is 1", "captured are 0, 2"]):
        statistic(capture, "entropy", 1)
    for layer in (True, 0.0, [0], "0", None):
        with refused(UsageError, [f"layer is {layer!r}", "captured are 0, 2"]):
            statistic(capture, "entropy", layer)
    with refused(UsageError, ["no statistic ['entropy']"]):
        statistic(capture, ["entropy"], 0)
    with refused(UsageError, ["no statistic"]):
        head_table(capture).sorted("loudness")
    with refused(UsageError, ["row range is 5:5", "empty", "<= 40"]):
        head_table(capture, 5, 5)
    with refused(UsageError, ["length is 64", "from 1 to 40"]):
        sink_rate(capture)
    with refused(UsageError, ["threshold is 3", "0 to 1"]):
        sink_rate(capture, threshold=3, length=10)
    for threshold in ("0.3", None, True, float("nan"), -1):
        with refused(UsageError, [f"threshold is {threshold!r}", "0 to 1"]):
            sink_rate(capture, threshold=threshold, length=10)
    with refused(UsageError, ["points is 0"]):
        by_position(capture, "entropy", 0, points=0)
