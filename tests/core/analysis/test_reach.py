"""How far back rows read: every number against the dense reference."""

import pytest
import torch
from captures import HEADS, dense_layer, learned_capture, random_capture, with_query
from strategies import VARIANTS, refused

from freeatten_core.analysis import reach as module
from freeatten_core.analysis.reach import doubling_edges, reach
from freeatten_core.basics.errors import UsageError

LENGTH = 40


@pytest.fixture(params=[1 << 22, 700])
def panels(request, monkeypatch):
    """All rows in one panel, or sixteen at a time."""
    monkeypatch.setattr(module, "PANEL_WEIGHTS", request.param)


def dense_shares(capture, layer):
    weights = dense_layer(capture, layer).weights[0]
    mass = weights.sum(-1, keepdim=True)
    return weights / torch.where(mass == 0, 1.0, mass)


@pytest.mark.parametrize(("start", "stop"), [(0, LENGTH), (20, LENGTH), (7, 30), (39, 40)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("panels")
def test_shares_by_distance_and_received_equal_the_dense_reference(variant, start, stop):
    capture = random_capture(variant)
    for layer in capture.layers:
        shares = dense_shares(capture, layer)[:, start:stop]
        distance = torch.arange(start, stop)[:, None] - torch.arange(LENGTH)
        expected = torch.stack(
            [(shares * (distance == d)).sum(-1).mean(-1) for d in range(stop)], dim=-1
        )
        found = reach(capture, layer, start, stop)
        torch.testing.assert_close(found.by_distance, expected, rtol=1e-6, atol=1e-9)
        means = shares.mean(1)[:, :start]
        highest = means.amax(-1) if start else torch.zeros(HEADS, dtype=torch.float64)
        torch.testing.assert_close(found.received, highest, rtol=1e-6, atol=1e-9)
        far = (shares * (distance >= 16)).sum(-1).mean(-1)
        torch.testing.assert_close(found.beyond(16), far, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("panels")
def test_learned_numbers_and_a_window_count():
    capture = learned_capture("lssar:p=3")
    for layer in capture.layers:
        distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        shares = dense_shares(capture, layer)
        expected = [(shares * (distance == d)).sum(-1).mean(-1) for d in range(LENGTH)]
        found = reach(capture, layer).by_distance
        torch.testing.assert_close(found, torch.stack(expected, dim=-1), rtol=1e-6, atol=1e-9)
    assert (reach(capture, 0).beyond(15) == 0).all()


def test_doublings_sum_what_lies_between_their_edges():
    found = reach(random_capture("lssar:p=3"), 0)
    assert doubling_edges(LENGTH) == [0, 1, 3, 7, 15, 31, 63]
    bins = found.doublings()
    torch.testing.assert_close(bins[:, 3], found.by_distance[:, 4:8].sum(-1))
    torch.testing.assert_close(bins.sum(-1), torch.ones(HEADS, dtype=torch.float64))


@pytest.mark.parametrize(
    ("length", "edges"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 3]), (4, [0, 1, 3]), (5, [0, 1, 3, 7])]
)
def test_the_last_edge_holds_the_farthest_key(length, edges):
    assert doubling_edges(length) == edges


def test_rows_that_read_nothing_have_no_reach():
    capture = random_capture("relu")
    blind = with_query(capture, torch.zeros_like(capture.layers[0].query))
    found = reach(blind, 0, 20)
    assert (found.by_distance == 0).all()
    assert (found.received == 0).all()


def test_a_range_outside_is_refused():
    with refused(UsageError, ["row range is 5:5", "empty"]):
        reach(random_capture("softmax"), 0, 5, 5)
    with refused(UsageError, ["layer is 1"]):
        reach(random_capture("softmax"), 1)
