"""How long a function and a file may be, read from the code: what is longer does several things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ("freeatten_core", "cli", "app", "examples")
LINES_OF_FUNCTION, LINES_OF_FILE = 60, 500
KERNELS = "freeatten_core/ops/backends/fused/"
"""A Triton kernel is one function, and what it inlines takes its registers along; there alone."""
LONG_FILES = {
    f"{KERNELS}forward.py": "one kernel and what Triton inlines into it",
    f"{KERNELS}fast_forward.py": "one kernel and what Triton inlines into it",
    f"{KERNELS}backward.py": "two kernels, and what Triton inlines into them",
}


def files(root: Path) -> Iterator[tuple[str, Path]]:
    """Code of the program, by its path in the checkout."""
    for folder in PROGRAM:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".js", ".css", ".html"}:
                yield path.relative_to(root).as_posix(), path


def long_files(root: Path) -> dict[str, int]:
    found = {}
    for name, path in files(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LINES_OF_FILE:
            found[name] = lines
    return found


def long_functions(root: Path) -> list[str]:
    """With their signature and docstring, without decorators; a function in one counts for both."""
    return [
        f"{name}:{node.lineno} {node.name} has {lines} lines"
        for name, path in files(root)
        if path.suffix == ".py" and not name.startswith(KERNELS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for lines in [(node.end_lineno or node.lineno) - node.lineno + 1]
        if lines > LINES_OF_FUNCTION
    ]


def test_no_function_is_long():
    assert long_functions(ROOT) == []


def test_no_file_is_long_but_those_with_a_reason():
    assert long_files(ROOT).keys() == LONG_FILES.keys()


@pytest.mark.parametrize(
    ("lines", "found"), [(LINES_OF_FUNCTION, []), (LINES_OF_FUNCTION + 1, ["grown"])]
)
def test_a_planted_function_is_measured(tmp_path, lines, found):
    planted = tmp_path / "cli" / "deep" / "planted.py"
    planted.parent.mkdir(parents=True)
    body = "\n".join(["        pass"] * (lines - 1))
    planted.write_text(f"class Holder:\n    @property\n    async def grown(self):\n{body}\n")
    assert [line.split()[1] for line in long_functions(tmp_path)] == found


@pytest.mark.parametrize(
    ("lines", "found"), [(LINES_OF_FILE, {}), (LINES_OF_FILE + 1, {"app/planted.js": 501})]
)
def test_a_planted_file_is_measured(tmp_path, lines, found):
    planted = tmp_path / "app" / "planted.js"
    planted.parent.mkdir()
    planted.write_text("let line;\n" * lines)
    assert long_files(tmp_path) == found
