"""`freeatten-viz space`: the browser instrument as a folder that a Hugging Face Space runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from freeatten_core.basics.assets import assets, library, licence

from .pages.markup import space_card
from .server.environment import say

__all__ = ["requirements", "space", "write"]

PYTHON = "3.12.12"
"""One of those that ZeroGPU has."""
PROVIDED = ("gradio", "huggingface-hub")
"""A Space installs these itself, `sdk_version` of the first: pins of its own would clash."""
LEFT_OUT = frozenset({"images", "__pycache__"})
"""Folders: pictures of the documents, and bytecode, which tells where it was compiled."""
APP_FILE = "app.py"
APP = '''"""The Space: freeatten in the browser."""

from freeatten_app.hosted import main

if __name__ == "__main__":
    main({allowed})
'''
TEXT = """Small language models that differ in nothing but the attention: the stored comparison of
their loss beyond the training length, and zoomable maps of where their heads look, on built-in
texts or your own. It runs on a CPU; on ZeroGPU, analyses of more than {long:,} tokens ask for a
GPU.

Made by `{command}`. The library, the app, the checkpoints and the stored results
are inside; code and weights are under Apache-2.0.
"""


def space(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="A hub repository, owner/name, that its visitors may have downloaded; repeatable."
        ),
    ] = None,
) -> None:
    """Write the app as a folder to push to a Gradio Space, with all that it needs."""
    from freeatten_core.basics.files import replacing_folder

    from .server.models import hub_names
    from .site.site import check_folder

    allowed = hub_names(allow or ())
    check_folder(out)
    words = [word for name in allowed for word in ("--allow", name)]
    command = shlex.join(["freeatten-viz", "space", "--out", out.resolve().name, *words])
    with replacing_folder(out) as folder:
        write(folder, command, allowed)
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(
        f"wrote {written / 1e6:.0f} MB; start it with python {APP_FILE} in {out}, or push it: "
        f"hf upload OWNER/NAME {shlex.quote(str(out))} . --repo-type space",
        error=True,
    )


def write(folder: Path, command: str, allowed: Sequence[str] = ()) -> None:
    """Write the Space into an existing folder; `allowed` are hub repositories."""
    from .server.zerogpu import LONG

    settings = {
        "sdk": "gradio",
        "sdk_version": metadata.version("gradio"),
        "python_version": f'"{PYTHON}"',
        "app_file": APP_FILE,
    }
    for name, source in {
        "freeatten_app": Path(__file__).parent,
        "freeatten_core": library(),
        "freeatten_assets": assets(),
    }.items():
        _copy(source, folder / name)
    for name, text in {
        "README.md": space_card(settings, TEXT.format(command=command, long=LONG)),
        APP_FILE: APP.format(allowed=json.dumps(allowed) if allowed else ""),
        "requirements.txt": "".join(f"{each}\n" for each in requirements()),
        "LICENSE": licence(),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def requirements() -> list[str]:
    """What the project depends on, without what a Space brings."""
    project = library().parent / "pyproject.toml"
    if project.is_file():
        listed = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        required = metadata.requires("freeatten") or []
        listed = [each for each in required if "extra ==" not in each]
    return [each for each in listed if re.split(r"[^\w.-]", each)[0] not in PROVIDED]


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        parts = path.relative_to(source).parts
        is_hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not is_hidden and LEFT_OUT.isdisjoint(parts):
            copied = target.joinpath(*parts)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
