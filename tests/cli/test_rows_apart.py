"""Of several rows one that fails is marked with its reason, and the others stand."""

import csv

import pytest
import torch
from terminal import SHORT, freeatten

from freeatten_core.basics.errors import ContentError
from freeatten_core.measures import ablation, tasks
from freeatten_core.ops.definitions import own_function


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})


@pytest.fixture
def broken(model, tmp_path):
    """A row of each of the functions that break on longer texts, by its name."""
    path = tmp_path / "short.py"
    path.write_text(SHORT)
    return {name: f"{model}+swap:to={path}:{name}" for name in ("short", "broken")}


@pytest.mark.parametrize("name", ["short", "broken"])
def test_retrieve(broken, model, books, tmp_path, name):
    table = tmp_path / "x.csv"
    words = ("--len", "4x", "--samples", "2", "--csv", table)
    call = ("retrieve", "--checkpoint", broken[name], "--checkpoint", model, "--text", books)
    done = freeatten(*call, *words, "--json")
    assert done.code == 1
    failed, whole = done.result["variants"]
    (alone,) = freeatten(
        "retrieve", "--checkpoint", model, "--text", books, *words[:4], "--json"
    ).result["variants"]
    assert whole == alone
    assert failed["gain"] == [None] * len(done.result["lengths"])
    reason = {"short": "no more than 64 tokens", "broken": "not finite: the loss at 128 tokens"}
    assert reason[name] in failed["error"]
    assert failed["error"] in done.sentence
    shown = freeatten(*call, *words)
    assert f"failed: {failed['error']}" in shown.out
    with table.open(encoding="utf-8", newline="") as file:
        assert [line["gain"] == "" for line in csv.DictReader(file)] == [True] * 4 + [False] * 4


def test_ablate(trained, books, monkeypatch):
    measure = ablation._measure

    def failing(request, row, texts, watch):
        if str(row.variant) == "softmax":
            raise ContentError("not finite: the loss at 128 tokens, target 81 of the text from a")
        return measure(request, row, texts, watch)

    monkeypatch.setattr(ablation, "_measure", failing)
    rows = [word for folder in trained.values() for word in ("--checkpoint", folder)]
    call = ("ablate", *rows, "--text", books, "--len", "4x", "--texts", "2")
    done = freeatten(*call, "--json")
    assert done.code == 1
    assert "softmax: failed: not finite: the loss at 128 tokens, target 81" in done.sentence
    whole, failed = done.result["variants"]
    assert None not in whole["delta"].values()
    assert (set(failed["delta"].values()), failed["heads"]) == ({None}, [])
    assert set(failed) - {"error"} == set(whole)
    assert "softmax: failed: not finite" in freeatten(*call).out


@torch.inference_mode()
def test_recall_counts_no_answer_of_logits_that_are_not_finite():
    logits = torch.zeros(2, 3, 5)
    tasks._check_finite(logits, 64)
    logits[1, 2, 4] = torch.nan
    with pytest.raises(ContentError, match="64 tokens, query 3 of sequence 2"):
        tasks._check_finite(logits, 64)


def test_one_row_alone_that_fails_is_the_sentence(broken, books):
    words = ("--text", books, "--len", "4x", "--samples", "2")
    done = freeatten("retrieve", "--checkpoint", broken["short"], *words)
    assert (done.code, done.out) == (2, "")
    assert "no more than 64 tokens" in done.sentence


@pytest.mark.parametrize("command", ["map", "entropy"])
def test_weights_that_are_not_finite_are_named_with_their_row(broken, books, command):
    words = ("--text", books, "--len", "4x", *(("--layer", "0") if command == "map" else ()))
    done = freeatten(command, "--checkpoint", broken["broken"], *words)
    assert (done.code, done.out) == (2, "")
    assert "short.py:broken gives weights that are not finite" in done.sentence
    assert "the first in row 80" in done.sentence
