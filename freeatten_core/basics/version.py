"""Which freeatten runs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["installed_version", "source_digest", "version_line"]


def installed_version() -> str | None:
    """As `0.1.0`; None in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and seldom asked for

    try:
        return version("freeatten")
    except PackageNotFoundError:
        return None


def source_digest() -> str:
    """SHA-256 of all code of `freeatten_core`, in hexadecimal."""
    import hashlib

    folder = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def version_line(program: str) -> str:
    """What `--version` prints."""
    return f"{program} {installed_version() or '(a checkout, not installed)'}"
