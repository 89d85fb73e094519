"""Files of the same text count once in every command with intervals over texts, and it says so."""

import shutil

import pytest
from terminal import freeatten

SAID = "3 files in all; 1 of them repeats another's text and is left out"
TEXTS = ("--len", "2x", "--texts", "4")
COMMANDS = {
    "compare": TEXTS,
    "field": TEXTS,
    "longppl": ("--len", "64", "--truncate", "16"),
    "ablate": (*TEXTS, "--no-heads"),
    "entropy": TEXTS,
    "retrieve": ("--len", "64", "--samples", "4"),
}


@pytest.fixture
def repeating(books, tmp_path):
    """Two texts, one of them twice."""
    for name in ("0.txt", "1.txt"):
        shutil.copy(books / name, tmp_path / name)
    shutil.copy(books / "0.txt", tmp_path / "again.txt")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_files_of_the_same_text_count_once_and_it_is_said(command, repeating, model):
    judge = ("--evaluator", model) if command == "longppl" else ()
    call = (command, *judge, "--checkpoint", model, "--text", repeating, *COMMANDS[command])
    result = freeatten(*call, "--json").result
    assert (result.get("texts") or result["samples"], result["text"]["files"]) == (2, 3)
    assert result["text"]["repeats"] == 1
    assert SAID in freeatten(*call).out
    (repeating / "again.txt").unlink()
    alone = freeatten(*call, "--json").result
    assert alone["variants"] == result["variants"]
    assert "repeat" not in freeatten(*call).out.replace(str(repeating), "").replace("again:", "")
