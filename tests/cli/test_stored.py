"""`freeatten compare --stored`: what was measured before, as if it had been measured now."""

import json
from pathlib import Path

import pytest
from terminal import freeatten, refusal

STORED = Path(__file__).resolve().parents[2] / "assets" / "results"


@pytest.mark.parametrize("name", ["stdlib-16x", "systems/code"])
def test_a_stored_result_is_the_file(name):
    found = freeatten("compare", "--stored", name, "--json")
    assert found.result == json.loads((STORED / f"{name}.json").read_text())


def test_rows_can_be_chosen_in_an_order(tmp_path):
    rows = "lssar:p=15+rerope,softmax+window"
    csv = tmp_path / "rows.csv"
    found = freeatten("compare", "--stored", "systems/books", "--variants", rows, "--csv", csv)
    assert found.code == 0
    assert "lssar:p=15+rerope" in found.out
    assert "softmax-ls+yarn" not in found.out.split("again:")[0]
    names = [line.split(",")[0] for line in csv.read_text().splitlines()[1:]]
    assert list(dict.fromkeys(names)) == rows.split(",")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["systems/cod"], ["'systems/cod'", "did you mean 'systems/code'"]),
        (["systems/code", "--variants", "relu"], ["systems/code has no row 'relu'"]),
        (["stdlib-16x", "--npz", "losses.npz"], ["--npz", "stored"]),
    ],
)
def test_what_is_not_stored_is_said(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(2, "compare", "--stored", *options)
    assert [word for word in words if word not in said] == []
    assert list(tmp_path.iterdir()) == []
