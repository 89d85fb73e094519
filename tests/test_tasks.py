"""The task file and the hooks: what they call exists, and `make check` is what CI checks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest
from test_house import README, ROOT

PROGRAMS = ("ruff", "mypy", "pytest", "python", "freeatten")
OF_MAKE = ("MAKE", "MFLAGS", "BIN")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE)


def made(*words: str) -> list[str]:
    """What make prints, as if no make had called these tests and nobody had set BIN."""
    done = subprocess.run(
        ["make", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith(OF_MAKE)},
    )
    return done.stdout.splitlines()


@needs_make
def test_make_check_runs_what_the_readme_runs_after_the_installation():
    (command,) = re.findall(
        r"<!-- test command -->\n```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL
    )
    assert command.split(" && ")[2:] == made("-n", "check")


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_every_task_calls_programs_that_there_are(target):
    lines = made("-n", target)
    assert lines
    for words in map(shlex.split, lines):
        program = next(word for word in words if not re.match(r"env$|-u$|TRITON_INTERPRET$", word))
        if target not in ("help", "setup"):
            assert program in {f".venv/bin/{name}" for name in PROGRAMS}
        named = [word for word in words if word.startswith("tests/")]
        assert [path for path in named if not list(ROOT.glob(path))] == []


@needs_make
def test_make_alone_lists_every_task():
    assert [line.split()[1] for line in made()] == TARGETS
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony.split() == TARGETS


def test_make_gpu_compiles_the_kernels_and_takes_slow_tests_too():
    recipe = MAKEFILE.split("\ngpu:")[1].split("\n\n")[0]
    assert "torch.cuda.is_available()" in recipe
    pytest_of_eight = "$(BIN)pytest -n 8 --maxprocesses 8"
    assert f'env -u TRITON_INTERPRET {pytest_of_eight} -m "slow or not slow"' in recipe


@needs_make
def test_make_gpu_has_every_file_with_a_test_that_needs_a_gpu():
    skipped = re.compile(r"skipif\(\s*not torch\.cuda\.is_available\(\)|require_kernels\(\)")
    needing = {
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if skipped.search(path.read_text(encoding="utf-8"))
    }
    words = [word for line in made("-n", "gpu") for word in shlex.split(line)]
    named = [ROOT / word for word in words if word.startswith("tests/")]
    assert ROOT / "tests" / "core" / "models" / "test_spread.py" in needing
    assert [path for path in needing if not {path, *path.parents} & {*named}] == []


def test_hooks_are_the_ruff_of_the_environment_and_fetch_nothing():
    yaml = pytest.importorskip("yaml")
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (repository,) = yaml.safe_load(text)["repos"]
    assert repository["repo"] == "local"
    assert [hook["language"] for hook in repository["hooks"]] == ["system", "system"]
    calls = [hook["entry"].split()[:2] for hook in repository["hooks"]]
    assert calls == [[".venv/bin/ruff", "check"], [".venv/bin/ruff", "format"]]
