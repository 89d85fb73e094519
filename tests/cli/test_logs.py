"""`freeatten train --log`: the curve for programs that show it, on this machine alone."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
from freeatten_cli import logs
from terminal import QUICK, freeatten, listing, refusal


def train(books, out, *words):
    return freeatten("train", "--variant", "lssa", "--text", books, "--out", out, *QUICK, *words)


def curve(out):
    return json.loads((out / "curve.json").read_text())["curve"]


def test_tensorboard_has_the_curve_of_the_training(books, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "model"
    done = train(books, out, "--log", "tensorboard")
    assert (done.code, done.out) == (0, "")
    assert listing(tmp_path) == ["model", "model.tensorboard"]
    events = EventAccumulator(str(tmp_path / "model.tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(logs.MEASURED)
    for name in ("loss", "validation"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [4, 8, 12]
        expected = [entry[name] for entry in curve(out)]
        assert [value for _, value in found] == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def trackio(monkeypatch):
    """A module in the place of trackio that keeps its calls, and prints as that does."""
    calls = []

    def called(name):
        def call(*values, **named):
            print(f"* {name}")
            calls.append((name, values, named))

        return call

    module = SimpleNamespace(calls=calls, **{name: called(name) for name in ("init", "log")})
    module.finish = called("finish")
    monkeypatch.setitem(sys.modules, "trackio", module)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(logs, "find_spec", lambda name: name == "trackio" or find_spec(name))
    return module


def test_trackio_has_the_curve_of_the_training_and_the_recipe(books, tmp_path, trackio):
    done = train(books, tmp_path / "model", "--log", "trackio")
    assert (done.code, done.out) == (0, "")
    (_, _, begun), *logged, (ended, _, _) = trackio.calls
    assert (begun["project"], begun["name"], ended) == ("freeatten", "model", "finish")
    assert begun["config"]["steps"] == 12
    assert [named["step"] for _, _, named in logged] == [4, 8, 12]
    losses = [values["validation"] for _, (values,), _ in logged]
    assert losses == pytest.approx(
        [entry["validation"] for entry in curve(tmp_path / "model")], abs=1e-5
    )


@pytest.mark.parametrize("name", logs.SENDING)
def test_nothing_is_sent_to_another_machine(books, tmp_path, trackio, monkeypatch, name):
    monkeypatch.setenv(name, "somebody/else")
    words = ("--variant", "lssa", "--text", books, "--out", tmp_path / "model", *QUICK)
    said = refusal(2, "train", *words, "--log", "trackio")
    assert f"the variable {name} is set" in said
    assert (trackio.calls, listing(tmp_path)) == ([], [])


@pytest.mark.parametrize("kind", logs.LOGS)
def test_a_missing_package_is_named_with_its_remedy(books, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logs, "find_spec", lambda _: None)
    words = ("--variant", "lssa", "--text", books, "--out", tmp_path / "model", *QUICK)
    said = refusal(2, "train", *words, "--log", kind)
    assert f"--log {kind} needs the package {kind}" in said
    assert f"pip install 'freeatten[{kind}]'" in said
    assert listing(tmp_path) == []


def test_another_log_is_refused(books, tmp_path):
    words = ("--variant", "lssa", "--text", books, "--out", tmp_path / "model", *QUICK)
    assert "it can be tensorboard, trackio" in refusal(2, "train", *words, "--log", "paper")
