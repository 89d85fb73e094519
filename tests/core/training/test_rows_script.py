"""`tests/measure/rows.py`: rows by one recipe, joined; one that fails says why, in its words."""

import importlib.util
import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from freeatten_core.results.cube import CURVE_POINTS, thinned
from freeatten_core.results.stored import read_result

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """#!{python}
import json, sys
from pathlib import Path

words = sys.argv[1:]
if words[0] == "train":
    out = Path(words[words.index("--out") + 1])
    print("step 100: loss 9", file=sys.stderr)
    if "relu" in words:
        framed = ["╭─ freeatten ────╮", "│ the loss is no │", "│ longer finite  │"]
        print(*framed, "╰────────────────╯", sep="\\n", file=sys.stderr)
        sys.exit(1)
    if "sigmoid" in words:
        print("Traceback", "ValueError: no", sep="\\n", file=sys.stderr)
        sys.exit(1)
    if "lssa" in words:
        sys.exit(3)
    out.mkdir()
    points = [{{"step": 500 * (at + 1), "loss": 9 - at / 100, "validation": 8.123456 - at / 100}}
              for at in range(100)]
    recipe = {{"train_length": 512, "steps": 50000, "batch": 64}}
    about = {{"recipe": recipe, "learning_rate": 0.004, "command": "freeatten train"}}
    (out / "curve.json").write_text(json.dumps({{"curve": points, **about}}))
else:
    row = {{"variant": "softmax", "train_length": 512, "loss": [3.0], "delta": [0.0]}}
    print(json.dumps({{
        "variants": [row], "lengths": [512], "texts": 3, "seed": 0, "dtype": "float32",
        "train_length": 512, "device": "cpu", "versions": {{}}, "date": "2026-01-01",
        "commit": None, "command": "freeatten compare", "text": {{"source": "a", "sha256": "b"}},
    }}))
"""


def loaded(name, monkeypatch):
    path = ROOT / "tests" / "measure" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """`cube` and `rows`, which run a program that only makes up what it is asked for."""
    program = tmp_path / "freeatten"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    cube = loaded("cube", monkeypatch)
    monkeypatch.setattr(cube, "PROGRAM", program)
    rows = loaded("rows", monkeypatch)
    monkeypatch.setattr(rows, "prepared", lambda *_, **__: None)
    return cube, rows


def test_a_failed_row_has_its_reason_and_the_others_stand(scripts, tmp_path, capsys):
    _, rows = scripts
    out = tmp_path / "rows"
    rows.main(["--out", str(out), "--text", "a", "--variants", "relu,sigmoid,lssa,softmax"])
    found = read_result(out / "rows.json")
    reasons = {each["variant"]: each["reason"] for each in found["failed"]}
    assert reasons == {
        "relu": "freeatten train: the loss is no longer finite",
        "sigmoid": "freeatten train: ValueError: no",
        "lssa": "freeatten train: step 100: loss 9",
    }
    (run,) = found["runs"]
    assert run["variant"] == "softmax"
    assert capsys.readouterr().err.count("step 100: loss 9") == 4


def test_a_row_keeps_its_curve_in_few_points_and_the_folder_all(scripts, tmp_path):
    _, rows = scripts
    out = tmp_path / "rows"
    rows.main(["--out", str(out), "--text", "a", "--variants", "softmax"])
    (run,) = read_result(out / "rows.json")["runs"]
    assert set(run["curve"]) == {"step", "loss", "validation"}
    assert run["curve"]["step"][-1] == 50_000
    assert run["curve"]["validation"][-1] == 7.1335
    assert len(run["curve"]["step"]) <= CURVE_POINTS
    assert len(json.dumps(run["curve"])) < 1_500
    (whole,) = json.loads((out / "curves.json").read_text()).values()
    assert len(whole) == 100


@pytest.mark.parametrize("points", [1, 39, 40, 41, 99, 400])
def test_what_is_left_of_a_curve_is_evenly_apart_and_ends_where_it_does(points):
    steps = thinned([{"step": at + 1} for at in range(points)])["step"]
    assert steps[-1] == points
    assert min(points, CURVE_POINTS // 2) <= len(steps) <= CURVE_POINTS
    assert len({after - before for before, after in pairwise(steps)}) <= 1


def test_a_command_that_says_nothing_has_no_last_words(scripts):
    cube, _ = scripts
    assert cube.last_said("") == ""
    assert cube.last_said("a\nb\n\n") == "b"
