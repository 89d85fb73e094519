"""What to cite for a result: this program, and the paper whose attention it examines."""

from __future__ import annotations

from dataclasses import dataclass

from freeatten_core.basics.version import installed_version

__all__ = ["PAPER", "PROJECT", "Reference", "bibtex", "references"]


@dataclass(frozen=True)
class Reference:
    """An entry of a bibliography."""

    kind: str
    """As BibTeX names it."""
    key: str
    fields: tuple[tuple[str, str], ...]


PAPER = Reference(
    "misc",
    "gao2025softplus",
    (
        ("author", "Gao, Bo and Spratling, Michael W."),
        (
            "title",
            "Softplus Attention with Re-weighting Boosts Length Extrapolation in Large Language "
            "Models",
        ),
        ("year", "2025"),
        ("eprint", "2501.13428"),
        ("archiveprefix", "arXiv"),
        ("url", "https://arxiv.org/abs/2501.13428"),
    ),
)
PROJECT = Reference(
    "software",
    "freeatten",
    (
        ("author", "{The freeatten contributors}"),
        ("title", "freeatten: attention as the context grows"),
    ),
)


def references() -> tuple[Reference, Reference]:
    """This program, with its version where it is installed, and the paper."""
    version = installed_version()
    known = () if version is None else (("version", version),)
    return Reference(PROJECT.kind, PROJECT.key, (*PROJECT.fields, *known)), PAPER


def bibtex() -> str:
    """The references in BibTeX, each ending a line."""
    return "\n".join(map(_entry, references()))


def _entry(reference: Reference) -> str:
    width = max(len(name) for name, _ in reference.fields)
    lines = [f"  {name:<{width}} = {{{value}}}," for name, value in reference.fields]
    return "\n".join([f"@{reference.kind}{{{reference.key},", *lines, "}\n"])
