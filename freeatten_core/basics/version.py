"""Which freeatten runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_version", "version_line"]


def installed_version() -> str | None:
    """As `0.1.0`; None in a checkout that is not installed."""
    try:
        return version("freeatten")
    except PackageNotFoundError:
        return None


def version_line(program: str) -> str:
    """What `--version` prints."""
    return f"{program} {installed_version() or '(a checkout, not installed)'}"
