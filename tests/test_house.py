"""The house: two commands, no large files, imports one way, and a README that is true."""

import contextlib
import io
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import typer
from bounds import ended
from freeatten_app.main import app as viz
from freeatten_cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILE_BYTES = 10_000_000
"""Above this, a Space needs LFS."""
TREE_BYTES = 61 * 1024**2
"""Of the whole checkout; the weights of what is shipped are 50 MiB of it."""
NO_TRITON = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import torch
import freeatten_core

query, key, value = torch.randn(3, 1, 2, 9, 4).unbind()
print(tuple(freeatten_core.attention(query, key, value, "lssar:p=15").shape))
"""


def blocks(language: str, page: str = README) -> list[str]:
    """A page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


# The two commands


def test_ci_runs_exactly_the_test_command_of_the_readme():
    if shutil.which("awk") is None:
        pytest.skip("no awk here")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    program = re.search(r"test_command=\$\(awk '(.+)' README\.md\)", script)
    assert program, "awk takes the command out of the README"
    assert '-c "$test_command"' in script
    done = ended(
        ["awk", program[1], "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    marked = re.search(
        r"<!-- test command -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
    assert marked
    assert done.stdout == marked[1]
    assert done.stdout.count("\n") == 1
    steps = done.stdout.strip().split(" && ")
    assert steps == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -c constraints.txt '.[test]'",
        ".venv/bin/ruff check .",
        ".venv/bin/ruff format --check .",
        ".venv/bin/mypy",
        ".venv/bin/pytest",
    ]


def test_the_first_command_installs_normally_and_compares():
    install, *_ = blocks("sh")
    assert "pip install -c constraints.txt ." in install
    assert "-e" not in shlex.split(install)
    assert install.strip().endswith(".venv/bin/freeatten compare --len 16x")


def test_constraints_pin_everything_that_is_installed():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert "torch==2.13.0" in lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    tests = re.search(r"^test = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    assert listed
    assert tests
    names = re.findall(r'"([\w-]+)', listed[1] + tests[1])
    assert {name.lower() for name in names} <= pinned


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert [each for each in listed if not re.match(r"[\w-]+>=\d+(\.\d+)*(;.*)?$", each)] == []


def test_the_page_of_a_package_index_names_no_path_of_the_repository():
    page = runpy.run_path(str(ROOT / "setup.py"))["index_page"](README)
    paths = re.findall(r'(?:src|srcset|href)="([^"]*)"|\]\(([^)]*)\)', page)
    assert [path for pair in paths for path in pair if path and "://" not in path] == []
    described = re.findall(r'<img[^>]* alt="([^"]*)"', README)
    assert described
    assert [each for each in described if f"*Picture: {each}.*" not in page] == []
    headings = [line for line in README.splitlines() if line.startswith("#")]
    assert [line for line in page.splitlines() if line.startswith("#")] == headings


# The repository


def test_the_wheel_takes_every_shipped_model_along():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["freeatten_assets"]
    models = {path.parent.parent.name for path in (ROOT / "assets").glob("*/*/model.safetensors")}
    assert {"checkpoints", "recall"} <= models
    assert [name for name in models if f"{name}/*/*" not in patterns] == []


@pytest.fixture(scope="module")
def tracked():
    """The bytes of every file that git keeps."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = ended(
        ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert ROOT / "README.md" in files
    return {str(path): path.stat().st_size for path in files if path.is_file()}


def test_no_tracked_file_is_large(tracked):
    assert {name: size for name, size in tracked.items() if size > FILE_BYTES} == {}


def test_all_that_is_tracked_is_small(tracked):
    assert sum(tracked.values()) < TREE_BYTES


def test_no_two_modules_of_tests_share_a_name():
    """Their folders are no packages: each is imported by its bare name."""
    found = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(found) == sorted(set(found))


def test_the_library_works_without_triton():
    done = ended([sys.executable, "-c", NO_TRITON], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 2, 9, 4)\n"


# The README


def test_the_python_example_runs():
    (example,) = blocks("python")
    for large, small in (("4096", "256"), ("4000", "160"), ("8192", "1024")):
        assert large in example
        example = example.replace(large, small)
    assert example.count("\n") <= 10
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), names)
    out, tile = names["out"], names["tile"]
    assert isinstance(out, torch.Tensor)
    assert isinstance(tile, torch.Tensor)
    assert (out.shape, tile.shape) == ((1, 8, 256, 64), (1, 8, 96, 64))
    losses = [float(number) for number in re.findall(r"\d+\.\d+", printed.getvalue())]
    assert len(losses) == 2  # 1x and 2x
    assert all(0.5 < loss < 4 for loss in losses)


def commands(page: str = README) -> list[str]:
    """Calls of this project's programs, without comments and redirections."""
    lines = "\n".join(blocks("sh", page)).splitlines()
    calls = (re.sub(r" +[#>].*", "", line) for line in lines)
    return [call for call in calls if call.startswith(("freeatten ", "freeatten-viz "))]


def commands_in_sentences(page: str) -> list[str]:
    """Calls with options that stand between the words of a page."""
    return re.findall(r"`((?:freeatten|freeatten-viz) [a-z]+ --?[^`]+)`", page)


def commands_of_pages() -> list[str]:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    found = [call for page in pages for call in commands(page)]
    root = [page.read_text(encoding="utf-8") for page in ROOT.glob("*.md")]
    found += [call for page in root for call in commands_in_sentences(page)]
    return list(dict.fromkeys(found))


def test_every_subcommand_is_in_the_readme():
    for program, name in ((app, "freeatten"), (viz, "freeatten-viz")):
        listed = {call.split()[1] for call in commands() if call.split()[0] == name}
        assert set(typer.main.get_command(program).commands) <= listed


@pytest.mark.parametrize("call", commands_of_pages())
def test_every_command_of_the_pages_is_accepted(call):
    program, name, *words = shlex.split(call)
    command = typer.main.get_command(viz if program == "freeatten-viz" else app).commands[name]
    command.make_context(name, words)  # raises on an unknown option, or a value of a wrong type
