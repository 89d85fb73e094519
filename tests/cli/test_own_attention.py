"""Attention of one's own from the command line: trains, gets its row, its verdict and its maps."""

from pathlib import Path

import pytest
from terminal import QUICK, freeatten, refusal

from freeatten_core.ops.definitions import own_function

NEAR = f"{Path(__file__).resolve().parents[2] / 'examples' / 'near.py'}:near"


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})


@pytest.fixture(scope="module")
def folder(books, tmp_path_factory):
    out = tmp_path_factory.mktemp("own") / "mine"
    done = freeatten("train", "--variant", NEAR, "--text", books, "--out", out, *QUICK)
    assert (done.code, done.out) == (0, "")
    return out


@pytest.fixture
def named(folder):
    return f"{folder}@{NEAR}"


def test_it_gets_its_row_and_its_verdict(named, books, trained):
    words = ("--checkpoint", named, "--checkpoint", trained["softmax"], "--text", books)
    done = freeatten("compare", *words, "--len", "4x", "--json")
    assert done.code == 0
    first, second = done.result["variants"]
    assert (first["variant"], second["variant"]) == ("near.py:near", "softmax")
    assert first["loss"][0] < 5.6
    assert first["verdict"] in {"uses", "harmless", "hurts", "unclear"}
    shown = freeatten("compare", *words, "--len", "4x")
    assert "near.py:near" in shown.out


def test_it_gets_its_maps_entropy_and_copying(named, books, tmp_path):
    words = ("--checkpoint", named, "--text", books)
    page = tmp_path / "map.html"
    done = freeatten("map", *words, "--layer", "0", "--len", "4x", "--html", page)
    assert done.code == 0
    assert "near.py:near, layer 0, head 0" in done.out
    assert "near.py:near" in page.read_text(encoding="utf-8")
    assert freeatten("entropy", *words, "--len", "4x").code == 0
    copied = freeatten("retrieve", *words, "--len", "2x", "--samples", "2", "--json")
    assert copied.result["variants"][0]["variant"] == "near.py:near"


def test_what_needs_stages_says_so(named, books):
    words = ("--checkpoint", named, "--text", books, "--layer", "0", "--len", "4x")
    assert "which has no stages" in refusal(2, "stages", *words)
    told = refusal(2, "ablate", *words[:4], "--len", "4x")
    assert "near.py:near computes a function of one's own" in told
    assert "nothing can be hidden from a head of it" in told


def test_its_code_does_not_run_unless_named(folder, books):
    told = refusal(2, "compare", "--checkpoint", folder, "--text", books)
    assert "computes near.py:near, Python code" in told
    assert f"--checkpoint {folder}@near.py:near" in told


def test_it_has_no_shipped_checkpoint():
    told = refusal(2, "compare", "--variants", NEAR)
    assert "no shipped checkpoint of near.py:near; train one" in told
    assert "pass it with --checkpoint FOLDER@near.py:near" in told


def test_it_can_be_put_on_weights_trained_without_it(trained, books):
    swapped = f"{trained['softmax']}+swap:to={NEAR}"
    words = ("--checkpoint", swapped, "--text", books, "--len", "2x", "--json")
    (row,) = freeatten("compare", *words).result["variants"]
    assert row["variant"] == "softmax+swap:to=near.py:near"


def test_nothing_is_trained_with_what_is_no_attention(books, tmp_path):
    path = tmp_path / "all.py"
    path.write_text("def f(query, key, value): return (query @ key.mT).softmax(-1) @ value\n")
    out = tmp_path / "out"
    told = refusal(2, "train", "--variant", f"{path}:f", "--text", books, "--out", out, *QUICK)
    assert "all.py:f is not causal" in told
    assert not out.exists()
