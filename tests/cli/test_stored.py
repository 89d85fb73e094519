"""`freeatten compare --stored`: what was measured before, as if it had been measured now."""

import json
from itertools import chain
from pathlib import Path

import pytest
from terminal import freeatten, refusal

from freeatten_core.results.stored import read_result

STORED = Path(__file__).resolve().parents[2] / "assets" / "results"


@pytest.mark.parametrize("name", ["stdlib-16x", "systems/code", "models/code"])
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
        (["systems/code", "--by", "position"], ["systems/code", "--by position"]),
    ],
)
def test_what_is_not_stored_is_said(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(2, "compare", "--stored", *options)
    assert [word for word in words if word not in said] == []
    assert list(tmp_path.iterdir()) == []


MEASURING = {
    "--len": "16x",
    "--checkpoint": "softmax",
    "--text": "stdlib",
    "--texts": "4",
    "--seed": "0",
    "--device": "auto",
    "--dtype": "float32",
    "--control": "restart",
}
"""Options that say what to measure, with their own defaults where they have one."""


@pytest.mark.parametrize("option", MEASURING)
def test_an_option_of_measuring_is_refused(option):
    said = refusal(2, "compare", "--stored", "stdlib-16x", option, MEASURING[option])
    assert said.startswith(f"{option} ")
    assert "as they were measured" in said


def test_every_option_of_measuring_is_named():
    said = refusal(2, "compare", *chain.from_iterable(MEASURING.items()), "--stored", "stdlib-16x")
    assert [option for option in MEASURING if f"{option} " not in said.replace(",", " ")] == []


def test_losses_by_position_are_drawn_where_they_are_stored(tmp_path):
    chart = tmp_path / "positions.html"
    words = ["--variants", "softmax", "--by", "position", "--html", chart]
    done = freeatten("compare", "--stored", "stdlib-16x", *words)
    assert done.code == 0, done.err
    assert "against position in one long pass" in chart.read_text(encoding="utf-8")
    assert "Mean loss by position in 8,192 tokens" in done.out
    plain = freeatten("compare", "--stored", "stdlib-16x", "--variants", "softmax")
    assert "loss by position" not in plain.out


# The ablation cube


def test_the_cube_is_a_stored_result(tmp_path):
    csv = tmp_path / "cube.csv"
    found = freeatten("compare", "--variants", "cube", "--csv", csv, "--json")
    assert found.code == 0, found.err
    assert found.result == freeatten("compare", "--stored", "cube/code", "--json").result
    names = [row["variant"] for row in found.result["variants"]]
    assert names[0] == "softmax"
    assert list(dict.fromkeys(line.split(",")[0] for line in csv.read_text().splitlines()))[1:] == (
        names
    )
    assert len(found.err.splitlines()) == 1
    assert "stored results" in found.err
    assert "python tests/measure/cube.py makes them anew" in found.err


def test_the_view_of_the_cube_says_what_it_knows():
    found = freeatten("compare", "--stored", "cube/books", columns=80)
    assert found.code == 0, found.err
    assert found.err == ""
    assert "texts from books-heldout, " in found.out
    assert "tokens scored at every length\nNVIDIA H200, float32, seed 0\n" in found.out
    assert "again: python tests/measure/cube.py" in found.out
    assert max(map(len, found.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["cube,softmax"], ["--variants cube", "--stored cube/code", "nothing else"]),
        (["softmax, cube"], ["--variants cube", "nothing else"]),
        (["cube", "--stored", "cube/books"], ["--variants cube", "nothing else"]),
        (["cube", "--len", "4x", "--device", "cpu"], ["--len, --device", "--variants cube"]),
        (["cube", "--checkpoint", "softmax"], ["--checkpoint", "--variants cube"]),
        (["cube", "--by", "position"], ["--by position"]),
        (["cube", "--npz", "losses.npz"], ["--npz", "stored"]),
    ],
)
def test_what_does_not_go_with_the_cube_is_said(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(2, "compare", "--variants", *options)
    assert [word for word in words if word not in said] == []
    assert list(tmp_path.iterdir()) == []


def test_cells_that_differ_in_one_stage_have_names_that_differ():
    shown = freeatten("compare", "--variants", "cube").out
    for score in ("dim-cosine", "count-cosine"):
        assert f"{score} exp l1 " in shown
        assert f"{score} softplus l1 " in shown
    assert "dim-cosine softplus l1:p=15" in shown
    assert "count-cosine s…tplus l1:p=15" in shown


# Rows that are not shipped


def runs_of(name):
    return read_result(STORED / "rows" / f"{name}.json")["runs"]


@pytest.mark.parametrize(("name", "text"), [("full", "far-books"), ("named", "code")])
def test_every_row_of_a_joined_result_is_shown_by_its_first_run(name, text, tmp_path):
    csv, html = tmp_path / "rows.csv", tmp_path / "rows.html"
    asked = ["compare", "--stored", f"rows/{name}/{text}", "--json", "--csv", csv, "--html", html]
    found = freeatten(*asked)
    assert found.code == 0, found.err
    runs = [run for run in runs_of(name) if text in run and run["seed"] == 0]
    first = {run["variant"]: run for run in reversed(runs)}
    rows = {row["variant"]: row for row in found.result["variants"]}
    assert set(rows) == {run["variant"] for run in runs}
    for variant, run in first.items():
        row = rows[variant]
        for key in ("loss", "delta", "sliding_delta", "window_delta", "verdict"):
            assert row[key] == run[text][key]
        assert row["checkpoint"] == run["cell"]
        assert row["train_command"] == run["train_command"]
    assert {line.split(",")[0] for line in csv.read_text().splitlines()[1:]} == set(rows)
    assert "S and W" in html.read_text(encoding="utf-8")


def test_the_view_of_such_rows_says_what_makes_them_and_has_their_controls():
    found = freeatten("compare", "--stored", "rows/gates/books", columns=80)
    assert found.code == 0, found.err
    assert "again: python tests/measure/rows.py" in found.out
    assert "uses the longer context" in found.out
    assert max(map(len, found.out.splitlines())) <= 80


def test_trained_controls_are_stored_results():
    found = freeatten("compare", "--stored", "controls/clex-code", "--json")
    assert found.result == json.loads((STORED / "controls" / "clex-code.json").read_text())


def test_texts_that_a_row_was_chosen_on_are_none_for_they_have_no_delta():
    said = refusal(2, "compare", "--stored", "rows/shipped/validation-code")
    assert "'rows/shipped/validation-code'" in said


# The share of the ceiling


def test_stored_rows_have_their_share_of_the_ceiling(tmp_path):
    csv = tmp_path / "shares.csv"
    found = freeatten("compare", "--stored", "ceiling/code", "--json", "--csv", csv)
    rows = {row["variant"]: row for row in found.result["variants"][:-1]}
    assert found.result["ceiling"] == {
        "variant": "softmax",
        "checkpoint": "ceiling",
        "train_length": 4096,
    }
    losses = json.loads((STORED / "ceiling" / "code.json").read_text())["variants"]
    by_name = {row["checkpoint"]: row["loss"] for row in losses if "+" not in row["variant"]}
    first, there, _ = by_name["softmax-ls"]
    share = rows["softmax-ls"]["ceiling_share"]
    assert share[1] == pytest.approx((first - there) / (first - by_name["ceiling"][1]))
    assert (share[0], share[2]) == (None, None)
    low, high = rows["softmax-ls"]["ceiling_share_ci95"][1]
    assert low < share[1] < high
    assert "ceiling_share" in csv.read_text().splitlines()[0]
    shown = freeatten("compare", "--stored", "ceiling/code", columns=80).out
    assert "(ceiling, softmax trained at 4,096 tokens)" in shown


def test_rows_whose_own_variant_was_trained_longer_have_the_share_of_that():
    found = freeatten("compare", "--stored", "rows/full/books", "--json")
    at = found.result["lengths"].index(8192)
    shares = {
        row["variant"]: row["ceiling_share"][at]
        for row in found.result["variants"]
        if "ceiling_share" in row
    }
    above = {run["variant"]: run for run in runs_of("full") if run["train_length"] == 8192}
    assert (
        set(shares)
        == set(above)
        == {
            "softmax",
            "stick-breaking",
            "softmax:gate=forget:position=rope@128-rope@128-none-rope@128-none",
        }
    )
    for row in found.result["variants"]:
        if row["variant"] in shares:
            ceiling = above[row["variant"]]["books"]["loss"][-1]
            wanted = (row["loss"][0] - row["loss"][at]) / (row["loss"][0] - ceiling)
            assert shares[row["variant"]] == pytest.approx(wanted)
    shown = freeatten("compare", "--stored", "rows/full/books", columns=100).out
    assert "(the same variant trained at 8,192 tokens)" in shown
