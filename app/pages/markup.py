"""The pages' files, and what the static site and the app share of them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template

__all__ = ["read", "script", "section", "space_card"]

PAGES = Path(__file__).parent
SPACE_CARD = """---
title: freeatten
emoji: 🔭
colorFrom: blue
colorTo: yellow
$settings
pinned: false
license: apache-2.0
short_description: Which attention holds at 16× its training length, and why
tags: [attention, interpretability, long-context]
---

# freeatten

$text"""
"""What a Hugging Face Space reads first, and shows."""


def read(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Scripts put together, so that they see each other and nothing else sees them."""
    return '(() => {\n"use strict";\n' + "\n".join(map(read, names)) + "})();\n"


def space_card(settings: Mapping[str, str], text: str) -> str:
    """The README of a Space: `settings` say how it runs, `text` is Markdown."""
    lines = "\n".join(f"{name}: {value}" for name, value in settings.items())
    return Template(SPACE_CARD).substitute(settings=lines, text=text)


def section(title: str, answer: str, more: str = "") -> str:
    """The Compare screen as markup; `more` is markup that follows the answer."""
    words = {"title": html.escape(title), "answer": html.escape(answer), "more": more}
    return Template(read("compare.html")).substitute(words)
