"""Where the shipped models and the stored results lie."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

__all__ = ["assets"]


def assets() -> Path:
    """The folder with shipped checkpoints and stored results, installed or in a checkout."""
    checkout = Path(__file__).resolve().parents[2] / "assets"
    if (checkout / "checkpoints").is_dir():
        return checkout
    return Path(str(import_module("freeatten_assets").__path__[0]))
