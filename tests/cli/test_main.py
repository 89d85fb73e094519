"""The command itself: help, version, completion, and what its start costs."""

import sys

import pytest
from bounds import ended
from terminal import BOOTSTRAP, Done, freeatten, process_environment, refusal

COMMANDS = [
    *("bench", "checkpoints", "compare", "field", "languages", "longppl", "report", "retrieve"),
    "train",
]
SLOW = ["torch", "numpy", "plotly", "scipy", "tokenizers"]
LISTS = [["checkpoints"], ["checkpoints", "lssa"], ["checkpoints", "gpt2"], ["variants"]]
STORED = [
    ["compare", "--stored", "stdlib-16x"],
    ["compare", "--stored", "systems/code", "--variants", "softmax", "--json"],
    ["compare", "--variants", "cube"],
]
LOADED = f"""
try:
    main()
finally:
    print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_the_commands_and_where_to_start(words):
    done = freeatten(*words)
    text = done.out + done.err  # a call without a command is a wrong one, and gets the help too
    assert done.code == (0 if words else 2)
    assert "freeatten compare --len 16x" in text
    for command in ("bench", "checkpoints", "compare", "train"):
        assert f" {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(command, option):
    done = freeatten(command, option)
    assert (done.code, done.err) == (0, "")
    assert f"freeatten {command}" in done.out


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["--version"], ["variants"]])
def test_help_and_names_wait_for_no_slow_import(words):
    done = ended(
        [sys.executable, "-c", BOOTSTRAP + LOADED, *words],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("words", [*LISTS, *STORED])
def test_what_is_listed_or_stored_waits_for_no_torch(words):
    done = ended(
        [sys.executable, "-c", BOOTSTRAP + LOADED, *words],
        capture_output=True,
        text=True,
        env=process_environment(),
    )
    assert "torch" not in done.stderr.splitlines()[-1]


def test_the_version_is_one_line():
    done = freeatten("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("freeatten ")
    assert done.out.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["comprae"], "'comprae'"),
        (["compare", "--lenn", "2x"], "--lenn"),
        (["compare", "--texts", "many"], "'--texts'"),
        (["train", "--variant", "lssa"], "--out"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(words, says):
    assert says in refusal(2, *words)


def complete(words: str) -> Done:
    count = len(words.split(" ")) - 1
    request = {
        "_FREEATTEN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": f"{count}",
    }
    return freeatten(env=request)


def test_the_shell_completes_commands_and_options():
    assert complete("freeatten com").out.split() == ["compare"]
    assert {"--len", "--html", "--text", "--texts"} <= set(
        complete("freeatten compare --").out.split()
    )
    assert {"report", "variants"} <= set(complete("freeatten ").out.split())
