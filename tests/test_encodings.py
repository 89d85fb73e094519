"""Text is UTF-8 whatever the locale: every call that opens a text says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_PATHS = {"os", "Image", "webbrowser"}
"""Names whose `open` is another one."""


def unspecified(source: str) -> Iterator[int]:
    """Lines of calls that leave the encoding to the locale."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and "encoding" not in {word.arg for word in call.keywords}:
            function = call.func
            name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
            is_method = isinstance(function, ast.Attribute)
            if is_method and name in ("read_text", "write_text"):
                if len(call.args) == (name == "write_text"):
                    yield call.lineno
            elif name == "open" and not (is_method and ast.unparse(function.value) in NOT_PATHS):
                modes = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
                if not any("b" in str(getattr(each, "value", "")) for each in modes[-1:]):
                    yield call.lineno


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("(folder / name).read_text()", [1]),
        ("path.write_text(text)", [1]),
        ("path.open('w')\nopen('a.txt')", [1, 2]),
        ("path.open('rb')\nopen(name, mode='wb')\nos.open(name, flags)", []),
        ("path.read_text(encoding='utf-8')\nwrite_text(path, text)", []),
    ],
)
def test_a_call_that_leaves_it_to_the_locale_is_seen(source, lines):
    assert list(unspecified(source)) == lines


def test_every_file_is_read_and_written_as_utf8():
    paths = [
        path for part in ("freeatten_core", "cli", "app") for path in (ROOT / part).rglob("*.py")
    ]
    assert len(paths) > 100
    found = {
        path.relative_to(ROOT).as_posix(): list(unspecified(path.read_text(encoding="utf-8")))
        for path in paths
    }
    assert {name: lines for name, lines in found.items() if lines} == {}
