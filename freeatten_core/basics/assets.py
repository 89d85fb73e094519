"""Where the shipped models and the stored results lie, and what is kept between calls."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

__all__ = ["CACHE", "assets", "cache", "library", "licence"]

CACHE = "FREEATTEN_CACHE"
"""The variable that names another cache."""


def assets() -> Path:
    """The folder with shipped checkpoints and stored results, installed or in a checkout."""
    checkout = Path(__file__).resolve().parents[2] / "assets"
    if (checkout / "checkpoints").is_dir():
        return checkout
    return Path(str(import_module("freeatten_assets").__path__[0]))


def library() -> Path:
    """The folder of the library itself: in a checkout, or beside the other packages."""
    return Path(__file__).resolve().parents[1]


def licence() -> str:
    """The text of the licence: of a checkout, or of what is installed."""
    file = library().parent / "LICENSE"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    from importlib import metadata  # slow, and seldom asked for

    return metadata.distribution("freeatten").read_text("licenses/LICENSE") or ""


def cache() -> Path:
    """The folder for what can be made again: `FREEATTEN_CACHE`, else freeatten in the user's."""
    if named := os.environ.get(CACHE):
        return Path(named).expanduser().absolute()
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users).expanduser().absolute() / "freeatten"
