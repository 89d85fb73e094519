"""Who may import whom, read from the code: every module, function-level imports too."""

from __future__ import annotations

import ast
import runpy
import shutil
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"freeatten_core": "freeatten_core", "cli": "freeatten_cli", "app": "freeatten_app"}
"""What a folder is imported as."""
LEVELS = (
    ("freeatten_core.basics", "freeatten_core.positions"),
    ("freeatten_core.variants", "freeatten_core.data"),
    ("freeatten_core.ops", "freeatten_core.results"),
    ("freeatten_core.models", "freeatten_core.transformers"),
    ("freeatten_core.analysis", "freeatten_core.training"),
    (
        "freeatten_core.measures",
        "freeatten_core.bench",
        "freeatten_core.figures",
        "freeatten_core.mapview",
    ),
    ("freeatten_core",),  # its own file alone: the public names
    ("freeatten_cli", "freeatten_app"),
)
"""From what stands on nothing to the programs. A room imports from its own level and below."""
ROOMS = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
OPEN_OPS = (
    "freeatten_core.ops.operator",
    "freeatten_core.ops.call",
    "freeatten_core.ops.row_statistics",
    "freeatten_core.ops.definitions",
    "freeatten_core.ops.backends.choice",
)
"""What of `ops` the other rooms import; a back-end never."""
BACKENDS = "freeatten_core.ops.backends"
DEFINITIONS = "freeatten_core.ops.definitions"
READERS = ("freeatten_core.results", "freeatten_core.figures")
"""They read stored JSON; none of these may be imported by them:"""
MEASURING = (
    "freeatten_core.ops",
    "freeatten_core.models",
    "freeatten_core.analysis",
    "freeatten_core.training",
    "freeatten_core.measures",
    "freeatten_core.bench",
)
HEAVY = {
    "freeatten_core": ("typer", "rich", "gradio", "cli", "app"),
    "freeatten_cli": ("gradio", "cli", "app"),
    "freeatten_app": ("cli", "app"),
}
"""Packages that are for the programs alone, and programs by the name of their folder."""
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("freeatten_core.figures.map", "freeatten_core.analysis"): "the type of what is drawn",
}
"""(importing module, imported module): why it may all the same."""


class Tree:
    """The modules of a checkout and what each imports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {
            name: path
            for folder, package in FOLDERS.items()
            for path in sorted((root / folder).rglob("*.py"))
            for name in [module_name(path.relative_to(root / folder), package)]
        }
        self.imports = {name: self._imports(name, path) for name, path in self.files.items()}

    def _imports(self, name: str, path: Path) -> set[tuple[str, str]]:
        """(module, name in it or "") for every import, wherever in the file it stands."""
        found = set()
        for node in import_nodes(path.read_text(encoding="utf-8")):
            if isinstance(node, ast.Import):
                found |= {(alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                source = resolved(name, path.name == "__init__.py", node)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    found.add((inner, "") if inner in self.files else (source, alias.name))
        return found

    def pairs(self) -> list[tuple[str, str, str]]:
        """(importing module, imported module of this project, name in it or "")."""
        return [
            (name, target, word)
            for name, imports in self.imports.items()
            for target, word in sorted(imports)
            if package(target) in FOLDERS.values() and (name, target) not in EXCEPTIONS
        ]


@cache
def import_nodes(text: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a module; planted trees hold the same texts again and again."""
    nodes = ast.walk(ast.parse(text))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def module_name(path: Path, package: str) -> str:
    parts = [package, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolved(name: str, is_package: bool, node: ast.ImportFrom) -> str:
    """The whole name of the module that `from … import` takes from."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def room(name: str) -> str:
    """`freeatten_core.ops` of `freeatten_core.ops.backends.choice`; a program is one room."""
    return ".".join(name.split(".")[: 2 if inside(name, "freeatten_core") else 1])


def package(name: str) -> str:
    return name.partition(".")[0]


# The rules: each gives the imports that break it


def unknown_rooms(tree: Tree) -> set[str]:
    return {room(name) for name in tree.files} - ROOMS.keys()


def upward(tree: Tree) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, target, _ in tree.pairs()
        if ROOMS.get(room(target), 99) > ROOMS.get(room(name), -1)
        or (package(name) != package(target) and ROOMS[room(name)] == ROOMS[room(target)])
    ]


def closed_parts_of_ops(tree: Tree) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, target, _ in tree.pairs()
        if inside(target, "freeatten_core.ops")
        and room(name) != "freeatten_core.ops"
        and name != "freeatten_core"
        and not inside(target, *OPEN_OPS)
    ]


def backend(name: str) -> str:
    """`fused` of `freeatten_core.ops.backends.fused.launch`, "" for what is none."""
    rest = name.removeprefix(f"{BACKENDS}.") if inside(name, BACKENDS) else ""
    return "" if rest in {"", BACKENDS, "choice"} else rest.partition(".")[0]


def backends_that_know_each_other(tree: Tree) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, target, _ in tree.pairs()
        if backend(name)
        and (
            inside(target, DEFINITIONS)
            or target == f"{BACKENDS}.choice"
            or (backend(target) and backend(target) != backend(name))
        )
    ]


def backends_known_inside_ops(tree: Tree) -> list[str]:
    """Only `choice` names a back-end."""
    return [
        f"{name} imports {target}"
        for name, target, _ in tree.pairs()
        if backend(target) and not backend(name) and name != f"{BACKENDS}.choice"
    ]


def readers_that_measure(tree: Tree) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, target, _ in tree.pairs()
        if inside(name, *READERS) and inside(target, *MEASURING)
    ]


def underscored(tree: Tree) -> list[str]:
    """Names with an underscore that another module takes."""
    return [
        f"{name} takes {word or target.rpartition('.')[2]} from {target}"
        for name, target, word in tree.pairs()
        if name != target and (word or target.rpartition(".")[2]).startswith("_")
    ]


def attributes_with_underscore(tree: Tree) -> list[str]:
    """`module._name`, the module imported."""
    found = []
    for name, path in tree.files.items():
        modules = {
            word or target.rpartition(".")[2]
            for target, word in tree.imports[name]
            if (f"{target}.{word}" if word else target) in tree.files
        }
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in modules
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                found.append(f"{name} takes {node.value.id}.{node.attr}")
    return found


def heavy(tree: Tree) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, imports in tree.imports.items()
        for target, _ in imports
        if inside(target, *HEAVY.get(package(name), ()))
    ]


def circles(tree: Tree) -> list[str]:
    """Modules that reach themselves, and rooms that do, over whatever is imported anywhere."""
    modules: dict[str, set[str]] = {name: set() for name in tree.files}
    rooms: dict[str, set[str]] = {}
    for name, target, _ in tree.pairs():
        if target in tree.files and target != name:
            modules[name].add(target)
        if room(name) != room(target):
            rooms.setdefault(room(name), set()).add(room(target))
    return [*circle(modules), *circle(rooms)]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that reach themselves."""
    found = []
    for start in sorted(graph):
        seen, waiting = set(), list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += graph.get(node, ())
        if start in seen:
            found.append(start)
    return found


RULES = (
    unknown_rooms,
    upward,
    closed_parts_of_ops,
    backends_that_know_each_other,
    backends_known_inside_ops,
    readers_that_measure,
    underscored,
    attributes_with_underscore,
    heavy,
    circles,
)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_imports_keep_to_the_rule(tree, rule):
    assert list(rule(tree)) == []


def test_no_exception_is_left_over(tree):
    known = {(name, target) for name, imports in tree.imports.items() for target, _ in imports}
    assert EXCEPTIONS.keys() <= known


PLANTED = {
    "unknown_rooms": ("freeatten_core/attic/old.py", "import math"),
    "upward": ("freeatten_core/ops/backends/panels/planted.py", "from ....models import decoder"),
    "closed_parts_of_ops": (
        "freeatten_core/analysis/map/planted.py",
        "def late():\n    from ...ops.backends.panels import power",
    ),
    "backends_that_know_each_other": (
        "freeatten_core/ops/backends/fused/planted.py",
        "from ..panels.panel import Block",
    ),
    "backends_known_inside_ops": (
        "freeatten_core/ops/definitions/planted.py",
        "from freeatten_core.ops.backends.panels import forward",
    ),
    "readers_that_measure": (
        "freeatten_core/figures/planted.py",
        "if TYPE_CHECKING:\n    from freeatten_core.analysis import Capture",
    ),
    "underscored": (
        "cli/terminal/planted.py",
        "from freeatten_core.results.format import _SOURCES",
    ),
    "attributes_with_underscore": (
        "app/server/planted.py",
        "from freeatten_core.results import format\n\nshown = format._SOURCES",
    ),
    "heavy": ("freeatten_core/mapview/planted.py", "import rich.table"),
    "circles": (
        "freeatten_core/basics/errors.py",
        "def late():\n    from .files import expanded",
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_planted_import_is_found(tree, rule, tmp_path):
    path, text = PLANTED[rule.__name__]
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.js"))
    planted = tmp_path / path
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    assert set(rule(Tree(tmp_path))) - set(rule(tree))


def test_the_programs_may_not_import_each_other(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder / "deep").mkdir(parents=True)
    (tmp_path / "cli" / "deep" / "one.py").write_text("import freeatten_app.main")
    (tmp_path / "app" / "deep" / "two.py").write_text("def f():\n    import freeatten_cli")
    assert upward(Tree(tmp_path)) == [
        "freeatten_cli.deep.one imports freeatten_app.main",
        "freeatten_app.deep.two imports freeatten_cli",
    ]


# What is installed


def test_every_folder_with_python_is_a_package_and_is_installed(tree, monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    given: dict[str, list[str]] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py", run_name="__main__")
    folders = {path.parent for path in tree.files.values()}
    assert {each for each in folders if not (each / "__init__.py").is_file()} == set()
    names = {name for name, path in tree.files.items() if path.name == "__init__.py"}
    assert set(given["packages"]) == names | {"freeatten_assets"}
