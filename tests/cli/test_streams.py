"""What a terminal cannot hold and a closed stream: no traceback, and the right exit code."""

import ast
import shutil
import sys
from pathlib import Path

import pytest
from bounds import ended
from freeatten_cli.terminal.streams import NEAREST
from terminal import BOOTSTRAP, PROCESS, process_environment

QUICK_CALLS = {
    "checkpoints": ["checkpoints"],
    "card": ["checkpoints", "lssa"],
    "json": ["checkpoints", "--json"],
    "help": ["compare", "--help"],
    "stored": ["compare", "--stored", "stdlib-16x"],
}
NARROW = ["ascii:strict", "cp1252"]
ROOT = Path(__file__).resolve().parents[2]
NOT_SIGNS = "漢字部🐈�"
"""Samples of text that a tokenizer is tried on, and what no character is shown as."""


def run(words, redirect="", **settings):
    """A call of `freeatten` by a shell, with redirections such as `>&-`."""
    return ended(
        ["sh", "-c", f'"$@" {redirect}', "sh", *PROCESS, *map(str, words)],
        capture_output=True,
        env=process_environment() | settings,
    )


@pytest.mark.parametrize("call", QUICK_CALLS)
def test_an_encoding_that_lacks_signs_costs_signs_alone(call):
    done = run(QUICK_CALLS[call], PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii")


@pytest.mark.parametrize("encoding", NARROW)
def test_a_comparison_is_shown_in_any_encoding(model, books, encoding):
    words = ["compare", "--checkpoint", model, "--text", books, "--len", "4x", "--texts", "2"]
    done = run(words, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding.split(":")[0])
    assert "Mean loss, nats per token" in shown
    assert b"provisional" in done.stderr
    if encoding.startswith("ascii"):
        assert "D, loss minus that of the same model that forgets" in shown
        assert "?" not in shown


NOT_UTF8 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_a_locale_without_utf_8_is_no_obstacle(model, books):
    words = ["compare", "--checkpoint", model, "--text", books, "--len", "2x", "--texts", "2"]
    done = run(words, **NOT_UTF8)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_folder_that_the_locale_cannot_name_is_told_from_one_that_is_not_utf8(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "mod\xe8le")
    done = run(["compare", "--checkpoint", folder], **NOT_UTF8)
    said = " ".join(line.strip("| ") for line in done.stderr.decode("ascii").splitlines())
    assert done.returncode == 2
    assert "the environment's encoding, ascii, cannot hold this folder's path" in said
    assert "set a UTF-8 locale such as LC_ALL=C.UTF-8, or PYTHONUTF8=1" in said
    assert "rename" not in said
    words = ["compare", "--checkpoint", folder, "--len", "2x", "--texts", "2", "--json"]
    done = run(words, **NOT_UTF8 | {"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "redirect", "code", "says"),
    [
        (["checkpoints"], ">&-", 1, "standard output: it is closed"),
        (["checkpoints"], "2>&-", 0, ""),
        (["checkpoints"], ">&- 2>&-", 1, ""),
        (["--version"], ">&-", 1, "standard output: it is closed"),
        (["--help"], ">&-", 1, "standard output: it is closed"),
        (["checkpoints", "gpt2"], ">&-", 2, "no checkpoint 'gpt2'"),
        (["checkpoints", "gpt2"], ">&- 2>&-", 2, ""),
        (["comprae"], "2>&-", 2, ""),
        (["compare", "--text", "-"], "<&-", 2, "standard input is closed; pipe a text into it"),
    ],
)
def test_a_closed_stream_is_told_where_anything_can_be(words, redirect, code, says):
    done = run(words, redirect)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    lines = (line.strip("│ ") for line in done.stderr.decode().splitlines())
    assert says in " ".join(lines)


@pytest.mark.parametrize("command", ["compare", "ablate", "map"])
def test_what_would_be_shown_nowhere_is_not_measured(command):
    done = run([command], ">&-")
    assert done.returncode == 1
    assert b"standard output is closed" in done.stderr


def test_training_needs_no_standard_output(books, tmp_path):
    words = ["train", "--variant", "softmax", "--text", books, "--out", tmp_path / "model"]
    words += ["--length", "32", "--width", "32", "--layers", "1", "--heads", "1", "--vocab", "320"]
    words += ["--batch", "4", "--lr", "1e-2", "--steps", "2", "--evaluate-every", "2"]
    done = run(words, ">&- 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&1 >/dev/null | true"])
def test_progress_that_nobody_takes_costs_no_result(model, books, tmp_path, redirect):
    table = tmp_path / "x.csv"
    words = ["compare", "--checkpoint", model, "--text", books, "--len", "2x", "--csv", table]
    done = run(words, redirect)
    assert done.returncode == 0
    assert table.read_text(encoding="utf-8").startswith("variant,")


def test_a_full_disk_behind_standard_output_costs_no_file(model, books, tmp_path):
    table = tmp_path / "x.csv"
    words = ["compare", "--checkpoint", model, "--text", books, "--len", "2x", "--csv", table]
    done = run(words, ">/dev/full")
    assert done.returncode == 1
    assert "standard output: No space left on device" in done.stderr.decode()
    assert table.read_text(encoding="utf-8").startswith("variant,")


def signs(folder):
    """Characters beyond ASCII that a program of a folder can print: of strings, and of its help."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and (folder == "cli" or id(node) not in notes):
                found |= {sign for sign in node.value if not sign.isascii()}
    return found - set(NOT_SIGNS)


@pytest.mark.parametrize("folder", ["cli", "freeatten_core"])
def test_no_sign_that_the_program_prints_becomes_a_question_mark(folder):
    found = "".join(sorted(signs(folder)))
    assert {"−", "Δ"} <= set(found)
    shows = f"from freeatten_cli.terminal.streams import prepare; prepare(); print({found!r})"
    done = ended(
        [sys.executable, "-c", BOOTSTRAP + shows],
        capture_output=True,
        env=process_environment() | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode("ascii").removesuffix("\n")
    assert len(shown) == len(found)
    assert [sign for sign, plain in zip(found, shown, strict=True) if plain == "?"] == []


def test_a_sign_is_replaced_by_one_of_its_width():
    assert {len(plain) for plain in NEAREST.values()} == {1}
    assert all(plain.isascii() for plain in NEAREST.values())
