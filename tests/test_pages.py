"""Pages are true where a test can tell: paths, links, modules, the tree, who may import whom."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from test_house import PAGES, ROOT
from test_imports import LEVELS
from test_tasks import TARGETS

import freeatten_core

FOLDERS = ("freeatten_core", "cli", "app", "assets", "docs", "examples", "tests", ".ci")
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PARTS_OF_TREE = ("freeatten_core", "cli", "app")
"""What is listed to the last folder."""
LIBRARY = "freeatten_core"
"""What is listed to the last file."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code(text: str) -> list[str]:
    """What stands in backticks or in a fenced block."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    fence = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    return [*fence.findall(text), *re.findall(r"`([^`\n]+)`", fence.sub("", text))]


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


# Paths, links, tasks


@each_page
def test_paths_in_code_exist(page):
    start = rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*"
    named = {
        path for each in code(page.read_text(encoding="utf-8")) for path in re.findall(start, each)
    }
    assert sorted(path for path in named if not list(ROOT.glob(path.rstrip("/.")))) == []


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'(?<!!)\[[^\]]+\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"', text)
    for link in filter(None, (one or other for one, other in links)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


@each_page
def test_tasks_that_are_named_exist(page):
    calls = "\n".join(code(page.read_text(encoding="utf-8")))
    assert set(re.findall(r"\bmake ([a-z]+)", calls)) <= set(TARGETS)


# DESIGN.md


def tree() -> dict[Path, list[str]]:
    """The folders of DESIGN.md's tree, and the files that it names in each, without endings."""
    (block,) = re.findall(r"^## The tree\n\n```\n(.*?)^```$", DESIGN, re.MULTILINE | re.DOTALL)
    found: dict[Path, str] = {}
    above: list[str] = []
    for line in block.splitlines():
        folder = re.match(r"( *)([\w.]+)/ +(.*)", line)
        if folder:
            above = [*above[: len(folder[1]) // 2], folder[2]]
            found[Path(*above)] = folder[3]
        else:
            found[Path(*above)] += f" {line.strip()}"
    return {folder: files_of(text) for folder, text in found.items()}


def files_of(text: str) -> list[str]:
    """`what it is · file (why), file; more · file`: its files."""
    lists = re.findall(r"·([^;]*)", re.sub(r"\([^)]*\)", "", text))
    return [name.strip() for each in lists for name in each.split(",")]


def test_every_folder_of_the_tree_exists_and_every_folder_is_in_it():
    listed = set(tree())
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []
    assert sum(map(len, tree().values())) > 100
    packages = {
        file.parent.relative_to(ROOT)
        for part in PARTS_OF_TREE
        for file in (ROOT / part).rglob("*.py")
    }
    assert packages - listed == set()


@pytest.mark.parametrize("folder", tree(), ids=str)
def test_the_tree_names_files_that_exist(folder):
    names = {path.name.partition(".")[0] for path in (ROOT / folder).iterdir()}
    assert [name for name in tree()[folder] if name not in names] == []


@pytest.mark.parametrize("folder", [each for each in tree() if each.parts[0] == LIBRARY], ids=str)
def test_the_tree_names_every_file_of_the_library(folder):
    files = {path.stem for ending in ("py", "js") for path in (ROOT / folder).glob(f"*.{ending}")}
    assert sorted(files - {"__init__", *tree()[folder]}) == []


def test_the_levels_are_those_that_the_imports_are_held_to():
    section = DESIGN.split("## Who imports whom")[1].split("\n## ")[0]
    lines = re.findall(r"^\d+\. (.*)$", section, re.MULTILINE)
    programs = {"freeatten_cli": "cli", "freeatten_app": "app"}
    levels = [
        {programs.get(room, room.removeprefix("freeatten_core.")) for room in rooms}
        for rooms in LEVELS
        if rooms != ("freeatten_core",)
    ]
    assert [set(re.findall(r"`(\w+)`", line)) for line in lines] == levels


def test_every_public_name_is_listed():
    (listed,) = re.findall(r"the public names of `import freeatten_core`: (.*?)\. ", DESIGN)
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(freeatten_core.__all__)


# CHANGELOG.md


def moved() -> list[tuple[str, str]]:
    """(before, now) of every line of the table of modules."""
    section = CHANGELOG.split("### Moved")[1]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", section, re.MULTILINE)
    assert len(rows) > 20
    return rows


@pytest.mark.parametrize(("before", "now"), moved(), ids=lambda text: text[:40])
def test_modules_moved_to_where_the_changelog_says(before, now):
    for name, module in re.findall(r"`(\w+)`: `([\w.]+)`", now):
        assert hasattr(importlib.import_module(f"freeatten_core.{module}"), name)
    for module in re.findall(r"`([a-z][\w.]+)`", re.sub(r"`\w+`: ", "", now)):
        assert importlib.util.find_spec(f"freeatten_core.{module}") is not None
    if now.startswith("the same in"):
        (room,) = re.findall(r"`(\w+)`", now)
        for name in re.findall(r"`(\w+)`", before):
            assert importlib.util.find_spec(f"freeatten_core.{room}.{name}") is not None


def test_the_changelog_has_the_form_of_its_kind():
    versions = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    kinds = re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Moved"}
