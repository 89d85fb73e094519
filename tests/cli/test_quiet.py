"""`--quiet`: nothing but the result, and nothing at all on standard error."""

import pytest
from terminal import QUICK, freeatten

from freeatten_core.bench import cpu as benchmark

LENGTH = ("--len", "2x")
COMMANDS = {
    "compare": (*LENGTH, "--texts", "2"),
    "ablate": (*LENGTH, "--texts", "2"),
    "entropy": LENGTH,
    "map": LENGTH,
    "stages": LENGTH,
    "retrieve": (*LENGTH, "--samples", "2"),
    "field": (*LENGTH, "--texts", "2"),
    "longppl": ("--len", "64", "--truncate", "16", "--texts", "2"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quiet_command_gives_its_result_alone(model, books, command):
    words = (command, "--checkpoint", model, "--text", books, *COMMANDS[command])
    if command == "longppl":
        words = (*words, "--evaluator", model)
    loud, quiet = freeatten(*words, "--json"), freeatten(*words, "--json", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.result.keys() == loud.result.keys()
    if command in ("compare", "ablate", "retrieve", "field", "longppl"):
        assert "lssar:p=15" in loud.err


@pytest.mark.parametrize(
    "words",
    [
        "bench --lengths 16 --heads 1 --dim 8 --repeat 1 --variants lssa --quiet",
        "stability --variants softmax --lengths 8 --scales 1 --inputs random --quiet",
    ],
)
def test_measuring_without_a_model_is_quiet_too(words, monkeypatch):
    monkeypatch.setattr(benchmark, "_peak_in_fresh_process", lambda *_: (1.0, ""))
    monkeypatch.setattr(benchmark, "has_compiler", lambda: False)
    done = freeatten(*words.split())
    assert (done.code, done.err) == (0, "")
    assert done.out


def test_quiet_training_says_where_it_saved_alone(books, tmp_path):
    words = ("train", "--variant", "lssa", "--text", books, *QUICK)
    loud = freeatten(*words, "--out", tmp_path / "loud")
    quiet = freeatten(*words, "--out", tmp_path / "quiet", "--quiet")
    assert "validation" in loud.err
    assert "8 files kept" in loud.err
    assert quiet.err.split() == ["saved", str(tmp_path / "quiet")]


def test_a_refusal_is_never_quiet():
    done = freeatten("compare", "--len", "0x", "--quiet")
    assert done.code == 2
    assert done.err
