"""`tests/measure/scale_rows.py`: rows of as many tokens, made once, whatever stops them; and
`tests/measure/scale_all.py`, which runs all that a size needs."""

import importlib.util
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from bounds import LIMIT

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("scale.py speed", "row trial-", "row medium-", "freeatten_cli compare")
"""What the first command of every stage has."""
PROGRAM = """#!{python}
import json, sys
from pathlib import Path

words = sys.argv[1:]
with open("calls", "a") as calls:
    print(*words, file=calls)
if words[0] == "train":
    out = Path(words[words.index("--out") + 1])
    kept = Path(f".{{out.name}}.training-state") / "00000001"
    kept.mkdir(parents=True)
    state = {{"step": 5, "curve": [{{"step": 5, "loss": 3.0, "validation": 3.1}}]}}
    (kept / "state.json").write_text(json.dumps({{"state": state}}))
    if Path("stop").exists():
        sys.exit(7)
    out.mkdir()
    (out / "curve.json").write_text("{{}}")
    (out / "config.json").write_text("{{}}")
elif "--dtype" in words and Path("fail").exists():
    sys.exit(2)
else:
    print(json.dumps({{"words": words}}))
"""


def loaded(name, monkeypatch):
    path = ROOT / "tests" / "measure" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, which runs a program that only says what it was asked."""
    program = tmp_path / "freeatten"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    module = loaded("scale_rows", monkeypatch)
    monkeypatch.setattr(module, "PROGRAM", program)
    monkeypatch.setattr(module, "ASKED_EVERY", 0.05)
    return module


@pytest.fixture
def row(script, tmp_path):
    def make(*words, name="mine"):
        given = ["row", name, "--variant", "softmax", "--seconds", "100", *map(str, words)]
        places = ["--work", tmp_path / "work", "--out", tmp_path / "out", "--text", "packages"]
        behind = given.index("--") if "--" in given else len(given)
        given[behind:behind] = map(str, places)
        asked = script.arguments(given)
        asked.work_of(asked)

    (tmp_path / "work").mkdir()
    return make


def calls(tmp_path, command="train"):
    lines = (tmp_path / "work" / "calls").read_text().splitlines()
    return [line for line in lines if line.startswith(command)]


def speed(path, rate, variant="softmax"):
    path.write_text(json.dumps({"tokens_per_second": rate, "variant": variant}))
    return path


def test_rows_have_the_steps_of_the_slowest_speed_or_of_the_tokens(row, tmp_path):
    fast, slow = speed(tmp_path / "a.json", 9e5), speed(tmp_path / "b.json", 131_072)
    faster = speed(tmp_path / "c.json", 2e5, "stick-breaking")
    row("--speeds", fast, f"{slow},{faster}", tmp_path / "missing.json", name="one")
    row("--speeds", fast, slow, "--tokens", "1e9", name="two")
    found = [line.split("--steps ")[1].split()[0] for line in calls(tmp_path)]
    assert found == [str(round(2e5 * 100 / 131_072)), str(round(1e9 / 131_072))]
    with pytest.raises(SystemExit, match="three: none of --speeds is there"):
        row(name="three")


def test_of_several_variants_the_fastest_is_trained(row, tmp_path):
    speeds = [
        speed(tmp_path / "a.json", 1e5, "lssar:p=15"),
        speed(tmp_path / "b.json", 2e5, "stick-breaking"),
    ]
    row("--variant", "lssar,stick-breaking", "--speeds", *speeds)
    assert "--variant stick-breaking " in calls(tmp_path)[0]


def test_all_rows_take_what_the_best_trial_had(row, tmp_path):
    trials = []
    for optimizer, loss in (("adamw", 3.2), ("muon", 3.1)):
        trials.append(tmp_path / f"{optimizer}.json")
        recipe = {"optimizer": optimizer, "schedule": "wsd"}
        about = {"recipe": recipe, "curve": [{"validation": 9}, {"validation": loss}]}
        trials[-1].write_text(json.dumps(about))
    row("--tokens", "1e6", "--best", *trials, name="one")
    trials[0].write_text(trials[0].read_text().replace("3.2", "1.0"))
    row("--tokens", "1e6", "--best", *trials, "--", "--parts", "4", name="two")
    for line in calls(tmp_path):
        assert "--optimizer muon --schedule wsd" in line
    assert calls(tmp_path)[1].endswith("--parts 4")


def test_a_stopped_row_leaves_what_it_saw_and_goes_on(row, tmp_path):
    stop = tmp_path / "work" / "stop"
    stop.touch()
    with pytest.raises(SystemExit, match="its training ended with 7"):
        row("--tokens", "1e7")
    told = json.loads((tmp_path / "out" / "mine.progress.json").read_text())
    assert (told["step"], told["tokens_seen"]) == (5, 5 * 128 * 1024)
    assert told["curve"][-1]["validation"] == 3.1
    stop.unlink()
    (tmp_path / "work" / ".mine.training-state" / "00000001" / "state.json").unlink()
    (tmp_path / "work" / ".mine.training-state" / "00000001").rmdir()
    row("--tokens", "1e7")
    assert not (tmp_path / "out" / "mine.progress.json").exists()
    assert (tmp_path / "out" / "mine" / "curve.json").exists()


def test_what_was_measured_is_not_measured_again_and_a_failure_stops_no_other(row, tmp_path):
    fail, books = tmp_path / "work" / "fail", tmp_path / "nonfiction-heldout"
    fail.touch()
    books.mkdir()
    words = ["--tokens", "1e7", "--measure", "--books", books]
    with pytest.raises(SystemExit, match="mine: not measured: bfloat16"):
        row(*words)
    fail.unlink()
    row(*words)
    assert len(calls(tmp_path)) == 1
    assert len(calls(tmp_path, "compare")) == 4
    assert "--text nonfiction-heldout " in calls(tmp_path, "compare")[1]
    assert (tmp_path / "work" / "nonfiction-heldout").is_dir()
    found = {path.name.split(".")[1] for path in (tmp_path / "out").glob("mine.*.json")}
    assert found == {"code", "nonfiction", "copy", "inside", "bfloat16"}


# All of a size


@pytest.fixture
def everything(tmp_path, monkeypatch):
    """Runs the script with programs that only say how they were started; returns those."""
    module, begun = loaded("scale_all", monkeypatch), []

    def start(command, *, env, stdout, **_):
        taken = [gpu for gpu in env["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
        begun.append((command[1:], taken))
        failed = any(word in command for word in failing)
        return subprocess.CompletedProcess(command, int(failed), "{}" if stdout else None)

    def call(*words):
        begun.clear()
        places = ["--work", tmp_path / "work", "--out", tmp_path / "out", "--text", "packages"]
        given = ["--gpus", 2, *places, "--books", tmp_path / "books-heldout", *words]
        module.main(list(map(str, given)))
        return begun

    failing = []
    monkeypatch.setattr(module.subprocess, "run", start)
    call.failing, call.module = failing, module
    return call


def test_every_command_is_one_that_the_scripts_take(everything, monkeypatch):
    parsers = {name: loaded(name, monkeypatch).arguments for name in ("scale", "scale_rows")}
    seen = Counter()
    for words, _ in everything():
        scripts = [at for at, word in enumerate(words) if Path(word).stem in parsers]
        for at in scripts:
            given = parsers[Path(words[at]).stem](words[at + 1 :])
            seen[words[at + 1]] += 1
            if words[at + 1] == "row" and words[at + 2].startswith("trial-"):
                assert {"--optimizer", "--schedule"} < set(given.options)
    assert seen == {"prepare": 1, "speed": 7, "row": 12}


def test_programs_run_beside_each_other_on_gpus_of_their_own(everything, monkeypatch):
    together, seen = threading.Barrier(2), []

    def run(_, gpus):
        together.wait(LIMIT)
        seen.append(list(gpus))
        return True

    monkeypatch.setattr(everything.module, "run", run)
    jobs = [everything.module.Job(name, []) for name in ("one", "two")]
    assert everything.module.stage(jobs, 2) == []
    assert sorted(seen) == [[0], [1]]


def test_stages_follow_each_other(everything):
    begun = everything()
    assert Counter(len(taken) for _, taken in begun) == {0: 1, 1: 20, 2: 1}
    kinds = [" ".join(words) for words, _ in begun]
    first = [next(at for at, each in enumerate(kinds) if part in each) for part in STAGES]
    assert first == sorted(first)


def test_what_is_made_is_not_made_again_and_a_failure_is_named(everything, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lssar-1.speed.json").write_text("{}")
    everything.failing.append("stick-breaking")
    with pytest.raises(SystemExit, match="failed: speed of stick; run it again"):
        everything("--until", "speeds")
    everything.failing.clear()
    names = [word for words, _ in everything("--until", "speeds") for word in words]
    assert str(tmp_path / "out" / "lssar-1.speed.json") not in names
    everything()
    assert (tmp_path / "out" / "sizes-books.json").read_text() == "{}"


def compared(name, **changes):
    """What `compare --json` gives of one row."""
    return {
        "lengths": [1024],
        "text": {"sha256": "a"},
        "seed": 0,
        "commit": "c",
        "date": "d",
        "seconds": 2.5,
        "command": f"freeatten compare --checkpoint {name} --json",
        "variants": [{"variant": name}],
        **changes,
    }


def joined(monkeypatch, folder, out):
    module = loaded("scale", monkeypatch)
    module.join(module.arguments(["join", str(folder), "--out", str(out)]))
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_rows_measured_one_by_one_become_one_result(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / f"{name}.code.json").write_text(json.dumps(compared(name)))
    (tmp_path / "out").mkdir()
    earlier = {"speed": [{"tokens_per_second": 1.0}], "trials": [{"name": "trial-a"}]}
    (tmp_path / "out" / "training.json").write_text(json.dumps(earlier))
    found = joined(monkeypatch, tmp_path, tmp_path / "out")
    assert found["code"]["variants"] == [{"variant": "a"}, {"variant": "b"}]
    assert found["code"]["command"] == "freeatten compare --checkpoint a --checkpoint b --json"
    assert found["code"]["seconds"] == 5.0
    assert {key: found["training"][key] for key in earlier} == earlier


def test_rows_measured_on_other_texts_are_not_joined(tmp_path, monkeypatch):
    for name, text in (("a", "x"), ("b", "y")):
        (tmp_path / f"{name}.code.json").write_text(json.dumps(compared(name, text=text)))
    with pytest.raises(SystemExit, match="another text"):
        joined(monkeypatch, tmp_path, tmp_path / "out")
