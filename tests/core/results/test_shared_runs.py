"""Joined runs as they are stored: what most say alike once, and whole again when read."""

import json

import pytest

from freeatten_core.basics.assets import assets
from freeatten_core.results.shared import shared_runs, whole_runs

LENGTHS = [512, 1024]


def run(cell, seed=0, **more):
    variant = cell.split(".")[0]
    made = f"freeatten train --variant {variant} --seed {seed} --tokenizer softmax --out {cell}"
    row = {"variant": variant, "checkpoint": cell, "window_delta": None, "lengths": LENGTHS}
    return {
        "cell": cell,
        "seed": seed,
        "variant": variant,
        "recipe": {"steps": 2000, "seed": seed, "betas": [0.9, 0.95]},
        "train_command": made,
        "code": {**row, "loss": [3.5, 4.5 + seed], "command": f"compare --checkpoint {cell}"},
        **more,
    }


BOOKS = {"books": {"variant": "relu", "window_delta": -0.1}}
CASES = {
    "alike": [run("relu.0"), run("sigmoid.0"), run("softmax.0")],
    "seeds": [run("softmax.0"), run("softmax.1", 1), run("softmax.2", 2)],
    "a part of one": [run("relu.0", **BOOKS), run("softmax.0")],
    "a value of one": [run("relu.0", curve=None), run("softmax.0", commit="c")],
    "a mapping or none": [run("a.0", curve={"step": [1]}), run("b.0", curve=None), run("c.0")],
    "one": [run("relu.0")],
    "none": [],
    "another training": [run("relu.0"), run("softmax.0") | {"recipe": {"steps": 9}}],
}


@pytest.mark.parametrize("runs", CASES.values(), ids=CASES)
def test_what_is_shared_is_whole_again(runs):
    result = {"schema": 2, "train_length": 512, "runs": runs}
    stored = json.loads(json.dumps(shared_runs(result)))
    assert whole_runs(stored) == result
    assert whole_runs(result) == result
    assert whole_runs(shared_runs(whole_runs(stored))) == result


def test_what_is_equal_and_of_another_type_is_not_shared():
    runs = [run("relu.0", x=value, y={"z": value}) for value in (1, 1, True, 1.0)]
    whole = whole_runs(json.loads(json.dumps(shared_runs({"runs": runs}))))
    assert json.dumps([(each["x"], each["y"]["z"]) for each in whole["runs"]]) == (
        "[[1, 1], [1, 1], [true, true], [1.0, 1.0]]"
    )


def test_braces_that_a_run_has_of_its_own_stay():
    runs = [run("relu.0", note=note) for note in ("{cell}", "{cell}", "relu.0", "{seed} {other}")]
    assert whole_runs(shared_runs({"runs": runs})) == {"runs": runs}


def test_a_run_has_its_names_and_what_is_its_own():
    shared = shared_runs({"runs": CASES["seeds"]})
    assert shared["runs"][1] == {
        "cell": "softmax.1",
        "variant": "softmax",
        "seed": 1,
        "recipe": {"seed": 1},
        "code": {"loss": [3.5, 5.5]},
    }
    assert shared["shared"]["code"]["command"] == "compare --checkpoint {cell}"
    assert shared["shared"]["recipe"] == {"steps": 2000, "betas": [0.9, 0.95]}


def test_stored_runs_are_shared():
    for path in (assets() / "results").rglob("*.json"):
        found = json.loads(path.read_text())
        if "runs" in found:
            assert shared_runs(whole_runs(found)) == found, path.name
