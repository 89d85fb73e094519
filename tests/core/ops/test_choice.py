"""One table says which back-end computes a call, and everything that computes attention asks it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from captures import checkpoint, random_capture, text
from strategies import stages

from freeatten_core import attention_weights, row_statistics
from freeatten_core.analysis import AttentionMap, capture, forecast, reach, thumbnails
from freeatten_core.ops.backends import choice
from freeatten_core.ops.call import NO_TERMS, Familiar, Problem, ScoreTerms
from freeatten_core.ops.operator import familiar_attention
from freeatten_core.positions.rope import Rope
from freeatten_core.variants.stages import Stages

HALF, WIDE = torch.float16, torch.float64
SLOPED = ScoreTerms(distance_slope=torch.ones(2))
STICKS_BY_COSINE = "stages:score=dim-cosine:positivity=sigmoid:normalise=stick-breaking"


@pytest.fixture(scope="module")
def seen():
    return random_capture("lssa")


@pytest.fixture
def asked(monkeypatch):
    """The uses that the first entry of the table was chosen for, which computes with the last."""
    uses = []

    def takes(use, *_):
        uses.append(use)
        return True

    one = choice.BackEnd("for one architecture", takes, choice.BACK_ENDS[-1].load)
    monkeypatch.setattr(choice, "BACK_ENDS", (one, *choice.BACK_ENDS))
    return uses


def vectors(length=20):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, length, 8, generator=draw) for _ in range(3)]


WORK = {
    "a model": (lambda _: tiny.model()(torch.arange(9)[None]), {"attention"}),
    "statistics": (lambda _: row_statistics(*vectors()[:2]), {"row_statistics"}),
    "weights": (lambda _: attention_weights(*vectors()[:2]), {"region_weights"}),
    "far keys": (
        lambda _: familiar_attention(
            *vectors(), "softmax", Familiar(Rope(8, 10_000.0, 16), rotation=True)
        ),
        {"familiar_attention"},
    ),
    "a capture": (lambda _: capture(checkpoint(), text(40)), {"attention", "row_statistics"}),
    "a forecast": (lambda _: forecast(checkpoint(), 40), {"attention", "row_statistics"}),
    "a map": (lambda _: AttentionMap.build(*(x[0, 0] for x in vectors()[:2]), "lssa"),
              {"row_statistics"}),
    "thumbnails": (thumbnails, {"region_weights"}),
    "reach": (lambda seen: reach.reach(seen, 0), {"region_weights"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WORK)
def test_everything_asks_the_table(name, seen, asked):
    work, uses = WORK[name]
    work(seen)
    assert set(asked) == uses


@pytest.mark.parametrize(
    ("use", "changes", "wanted"),
    [
        ("attention", {}, "fused"),
        ("row_statistics", {}, "fused"),
        ("region_weights", {}, "panels"),
        ("familiar_attention", {}, "panels"),
        ("attention", {"window": 4}, "fused"),
        ("attention", {"softcap": 50.0}, "panels"),
        ("row_statistics", {"softcap": 50.0}, "panels"),
        ("attention", {"is_cuda": False}, "panels"),
        ("row_statistics", {"is_cuda": False}, "panels"),
        ("attention", {"dtype": WIDE}, "panels"),
        ("attention", {"dim": 8}, "panels"),
        ("attention", {"dim": 257}, "panels"),
        ("attention", {"value_dim": 8}, "panels"),
        ("attention", {"variant": "stick-breaking"}, "fused sticks"),
        ("row_statistics", {"variant": "stick-breaking"}, "fused sticks"),
        ("row_statistics", {"variant": "stick-breaking", "terms": SLOPED}, "panels"),
        ("region_weights", {"variant": "stick-breaking"}, "panels"),
        ("attention", {"variant": "stick-breaking", "dtype": WIDE}, "panels"),
        ("attention", {"variant": "stick-breaking", "terms": SLOPED}, "panels"),
        ("attention", {"variant": STICKS_BY_COSINE}, "panels"),
        ("attention", {"variant": "off-by-one"}, "fused"),
        ("attention", {"variant": "entmax15"}, "panels"),
        ("attention", {"batch": 0}, "panels"),
    ],
)
def test_a_call_goes_to_the_first_that_can(use, changes, wanted, monkeypatch):
    monkeypatch.setattr(choice, "HAS_TRITON", True)
    given = {"is_cuda": True, "dtype": HALF, "dim": 64, "value_dim": 64, "window": None}
    given |= {"variant": "softmax", "terms": NO_TERMS, "batch": 1, "softcap": None} | changes
    sizes = given["batch"], 2, 2, 9, 9, given["dim"]
    problem = Problem(stages(given["variant"]), *sizes, True, given["window"], given["softcap"])
    query = SimpleNamespace(is_cuda=given["is_cuda"], dtype=given["dtype"])
    found = choice.chosen(use, problem, query, given["value_dim"], given["terms"])
    assert found.name == wanted


def test_without_triton_panels_compute_on_every_device(monkeypatch):
    monkeypatch.setattr(choice, "HAS_TRITON", False)
    problem = Problem(Stages(), 1, 2, 2, 9, 9, 64, True)
    query = SimpleNamespace(is_cuda=True, dtype=HALF)
    assert choice.chosen("attention", problem, query, 64).name == "panels"


def test_the_last_of_the_table_takes_what_no_other_does():
    problem = replace(Problem(Stages(), 1, 2, 2, 9, 9, 3, True), window=2)
    *_, last = choice.BACK_ENDS
    kernels = last.load()
    for use in ("attention", "row_statistics", "region_weights", "familiar_attention"):
        assert last.takes(use, problem, torch.zeros(1, dtype=WIDE), 3, NO_TERMS)
        assert callable(getattr(kernels, use))
