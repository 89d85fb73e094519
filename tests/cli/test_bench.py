"""The `bench` command: table, JSON, refusals."""

import json

import pytest
import torch
from freeatten_cli.main import app
from typer.testing import CliRunner

from freeatten_core import benchmark as module

TINY = ["bench", "--lengths", "5,16", "--heads", "2", "--dim", "8", "--repeat", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_peak_in_fresh_process", lambda *_: (1.0, ""))
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setenv("COLUMNS", "80")


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_json_stands_alone_on_standard_output():
    result = run(*TINY, "--json", "--variants", "lssa")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    assert [row["peer"] for row in rows[:4]] == [
        "sdpa softmax",
        "lssa",
        "lssa naive",
        "lssa compiled",
    ]


def test_the_table_fits_80_columns_and_says_what_was_measured():
    result = run(*TINY)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for words in (
        "Causal attention forward, float32, batch 1, 2 heads of 8",
        f"torch {torch.__version__}",
        "threads",
        "lssar:p=15 naive",
        "no C++ compiler",
    ):
        assert words in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--lengths", "0", "at least 1"),
        ("--lengths", "2k", "whole numbers"),
        ("--heads", "0", "heads is 0"),
        ("--variants", "sofmax", "did you mean"),
    ],
)
def test_a_wrong_call_is_one_sentence(option, value, words):
    result = run(*TINY, option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
