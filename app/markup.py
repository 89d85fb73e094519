"""The pages' files, and what the static site and the app share of them."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

PAGES = Path(__file__).parent / "pages"


def read(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Scripts put together, so that they see each other and nothing else sees them."""
    return '(() => {\n"use strict";\n' + "\n".join(map(read, names)) + "})();\n"


def stronger(style: str) -> str:
    """A style that also holds against what Gradio sets for every element."""
    return f"{style}\n.site-page.site-page {{\n{style}}}\n"


def section(title: str, answer: str) -> str:
    """The Compare screen as markup."""
    words = {"title": html.escape(title), "answer": html.escape(answer)}
    return Template(read("compare.html")).substitute(words)
