"""What a module offers stands in its `__all__`, and nothing else is taken by another module."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from test_imports import FOLDERS, ROOT, Tree


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT)


def parsed(tree: Tree, name: str) -> ast.Module:
    return parsed_file(tree.files[name])


@cache
def parsed_file(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def listed(module: ast.Module) -> tuple[str, ...]:
    """A module's `__all__`."""
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return ()


@cache
def bound(module: ast.Module, *, imports: bool) -> set[str]:
    """Names of a module's top level, those that it imports too or not."""
    found = set()
    waiting = list(module.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if imports:
                found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for name in names for part in ast.walk(name)]
            found |= {part.id for part in parts if isinstance(part, ast.Name)}
        else:
            waiting += [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
    return found


def taken(tree: Tree) -> set[tuple[str, str, str]]:
    """(module, name, by whom): what modules take from others, as `from a import b` or `a.b`."""
    found = {
        (target, word, name)
        for name, target, word in tree.pairs()
        if word and target in tree.files and target != name
    }
    for name in tree.files:
        module = parsed(tree, name)
        aliases = {
            alias.asname: alias.name
            for node in ast.walk(module)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if alias.asname
        }
        known = {
            target.rpartition(".")[2]: target for target, word in tree.imports[name] if not word
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                target = known.get(aliases.get(node.value.id, node.value.id), "")
                # a variable can have the name of a module
                if target in tree.files and node.attr in bound(parsed(tree, target), imports=False):
                    found.add((target, node.attr, name))
    return found


def unlisted(tree: Tree) -> list[str]:
    return sorted(
        f"{name} takes {word} from {target}, whose __all__ lacks it"
        for target, word, name in taken(tree)
        if word not in listed(parsed(tree, target))
    )


def test_what_another_module_takes_is_listed(tree):
    assert unlisted(tree) == []


def test_what_is_listed_exists_and_stands_there_once(tree):
    wrong = []
    for name in tree.files:
        module = parsed(tree, name)
        names = listed(module)
        missing = set(names) - bound(module, imports=True)
        wrong += [f"{name} lists {each}, which it has not" for each in sorted(missing)]
        wrong += [f"{name} lists {each}" for each in names if each.startswith("_")]
        wrong += [f"{name} lists {each} twice" for each in set(names) if names.count(each) > 1]
    assert wrong == []


def test_what_is_made_without_an_underscore_is_listed(tree):
    """Functions and classes; a constant of a module's own needs no list."""
    missing = []
    for name in tree.files:
        if not name.startswith("freeatten_core"):
            continue
        module = parsed(tree, name)
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        made = [node.name for node in module.body if isinstance(node, kinds)]
        names = listed(module)
        missing += [f"{name}.{each}" for each in made if each[0] != "_" and each not in names]
    assert missing == []


def test_a_name_that_is_not_listed_is_found(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    core = tmp_path / "freeatten_core"
    (core / "one.py").write_text('__all__ = ["told"]\n\ntold, untold, other = 1, 2, 3\n')
    (core / "two.py").write_text("from .one import told, untold\n")
    (core / "three.py").write_text("from . import one as first\n\nlate = lambda: first.other\n")
    assert [line.split(" from ")[0] for line in unlisted(Tree(Path(tmp_path)))] == [
        "freeatten_core.three takes other",
        "freeatten_core.two takes untold",
    ]
