"""No test waits for ever: what could is given a bound where it is called."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
MEASURING = TESTS / "measure"
"""Programs, not tests: some measure for hours."""
STARTS = ("run", "call", "check_call", "check_output")
WAITS = ("wait", "communicate", "join", "result", "acquire")
ENDING = r"monotonic\(\)|\.pop\(\)"
"""What ends a loop: a clock, or work that is used up."""
PATHS = [
    path.relative_to(TESTS.parent)
    for folder in (TESTS, TESTS.parent / ".ci")
    for path in sorted(folder.rglob("*.py"))
    if MEASURING not in path.parents
]
UNBOUNDED = [
    "subprocess.run(['true'], check=True)",
    "process.wait()",
    "thread.join()",
    "future.result()",
    "process.communicate('text')",
    "urlopen('http://127.0.0.1')",
    "opener.open(request)",
    "subprocess.Popen(['true'], stdout=subprocess.PIPE)",
    "while job.is_open: pass",
    "queue.Queue().get()",
]
BOUNDED = [
    "subprocess.run(['true'], timeout=9)",
    "process.wait(9)",
    "', '.join(words)",
    "future.result(9)",
    "process.communicate('text', timeout=9)",
    "urlopen('http://127.0.0.1', timeout=9)",
    "path.open('w')",
    "found.get('name')",
    "while job.is_open: assert time.monotonic() < until",
    "while waiting: seen.add(waiting.pop())",
]


def unbounded(tree: ast.AST) -> list[str]:
    """Calls and loops that may take for ever, with their lines."""
    return [
        f"{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and call_without_end(node))
        or (isinstance(node, ast.While) and not re.search(ENDING, ast.unparse(node)))
    ]


def call_without_end(call: ast.Call) -> bool:
    """Whether the call can wait and is told no time; a pipe is read as long as its program runs."""
    named = {word.arg for word in call.keywords}
    if "timeout" in named or None in named:  # None: of `**options`, which the caller gives
        return False
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    if owner == "subprocess":
        return name in STARTS or (name == "Popen" and "PIPE" in ast.unparse(call))
    if name == "communicate":
        return True
    if name == "open":
        return owner.endswith("opener")
    if name == "get":
        return not call.args and "ueue" in owner
    return name == "urlopen" or (bool(owner) and name in WAITS and not call.args)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_nothing_waits_for_ever(path):
    assert unbounded(ast.parse((TESTS.parent / path).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("code", UNBOUNDED)
def test_a_wait_without_a_bound_is_found(code):
    assert unbounded(ast.parse(code))


@pytest.mark.parametrize("code", BOUNDED)
def test_a_wait_with_a_bound_is_none(code):
    assert unbounded(ast.parse(code)) == []
