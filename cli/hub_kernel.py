"""The attention operator as a repository of the `kernels` hub, made from the library's own files.

The hub wants a folder a back-end, `build/torch-cuda` and `build/torch-cpu` for what is not compiled
beforehand, each a package whose imports are relative: any number of versions are loaded side by
side, under names of their own.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from freeatten_core.basics.assets import library, licence
from freeatten_core.basics.version import installed_version

__all__ = ["BACKENDS", "NAME", "sources", "write"]

NAME = "freeatten"
"""Of the kernel, and of the folder in a variant that older versions of `kernels` look for."""
BACKENDS = ("cuda", "cpu")
"""Triton's kernels and panels: both are in each, and the operator chooses by the device."""
LIBRARY = "freeatten_core"
ROOTS = ("ops/operator.py", "ops/definitions/staged.py")
"""What is imported below, and with it all that it imports."""
ENTRY = '''"""Softmax and softplus attention; made by `freeatten kernels`."""

from .ops.definitions.staged import reference_attention
from .ops.operator import attention, attention_weights, row_statistics
from .variants.variant import Variant

__all__ = ["Variant", "attention", "attention_weights", "reference_attention", "row_statistics"]
'''
OLDER_ENTRY = '''"""For versions of `kernels` that look for the package in a folder of its name."""

import importlib.util
import sys
from pathlib import Path

path = Path(__file__).parent.parent / "__init__.py"
name = __name__.replace(".", "_") + "_whole"
spec = importlib.util.spec_from_file_location(name, path)
whole = importlib.util.module_from_spec(spec)
sys.modules[name] = whole
spec.loader.exec_module(whole)
globals().update({each: getattr(whole, each) for each in whole.__all__})
__all__ = whole.__all__
'''
ABSOLUTE = re.compile(rf"^(\s*)from {LIBRARY}\.([\w.]+) import ", re.MULTILINE)
"""How the library imports from its other rooms."""


def write(folder: Path, card: str) -> None:
    """Write the repository into an existing folder.

    Args:
        card: the text of README.md.
    """
    files = sources()
    files["__init__.py"] = ENTRY
    files[f"{NAME}/__init__.py"] = OLDER_ENTRY
    for backend in BACKENDS:
        variant = folder / "build" / f"torch-{backend}"
        _write(variant, files)
        about = _metadata(files, backend)
        _write(variant, {"metadata.json": json.dumps(about, indent=2) + "\n"})
    benchmark = Path(__file__).with_name("hub_benchmark.py").read_text(encoding="utf-8")
    texts = {"README.md": card, "benchmarks/benchmark.py": benchmark, "LICENSE": licence()}
    _write(folder, texts)


def sources() -> dict[str, str]:
    """The operator's files and all that they import, by path; imports of the library relative."""
    found: dict[str, str] = {}
    waiting = [*ROOTS]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        text = (library() / name).read_text(encoding="utf-8")
        waiting += _imported(name, text)
        up = "." * name.count("/") + "."
        found[name] = ABSOLUTE.sub(rf"\1from {up}\2 import ", text)
    return dict(sorted(found.items()))


def _imported(name: str, text: str) -> Iterator[str]:
    """The library's files that a file imports, wherever in it, and the packages they lie in."""
    own = name.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module.split(".") if node.module else []
        if node.level:
            module = own[: len(own) + 1 - node.level] + module
        elif module[0] == LIBRARY:
            module = module[1:]
        else:
            continue
        for words in (module, *([*module, alias.name] for alias in node.names)):
            for end in range(1, len(words) + 1):
                path = "/".join(words[:end])
                for file in (f"{path}.py", f"{path}/__init__.py"):
                    if (library() / file).is_file():
                        yield file


def _metadata(files: Mapping[str, str], backend: str) -> dict[str, object]:
    """What a loader reads first: the name that the package is loaded under, and its digests."""
    digests = {name: hashlib.sha256(text.encode()).digest() for name, text in files.items()}
    whole = hashlib.sha256(b"".join(digests[name] for name in sorted(digests))).hexdigest()
    major = (installed_version() or "0").partition(".")[0]  # 0 is what is not settled yet
    return {
        "name": NAME,
        "id": f"{NAME}_{backend}_{whole[:10]}",
        "version": int(major),
        "license": "Apache-2.0",
        "python-depends": [],
        "backend": {"type": backend},
        "digest": {
            "algorithm": "sha256",
            "files": {
                name: base64.b64encode(digest).decode() for name, digest in sorted(digests.items())
            },
        },
    }


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
