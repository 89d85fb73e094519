"""The page of a package index: the README without what lies in the repository.

An index has no copy of pictures and pages and resolves no path to them, so a picture stands there
as the words that describe it, and a link to a page as its text. All else is in `pyproject.toml`.
"""

import re
from pathlib import Path

PICTURE = re.compile(r'(?:<a [^>]*>)?<picture>.*?alt="([^"]*)".*?</picture>(?:</a>)?', re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)[^)]+\)")


def index_page(readme: str) -> str:
    """Markdown without a path into the repository."""
    return LINK.sub(r"\1", PICTURE.sub(r"*Picture: \1.*", readme))


if __name__ == "__main__":
    from setuptools import setup

    page = index_page(Path("README.md").read_text(encoding="utf-8"))
    setup(long_description=page, long_description_content_type="text/markdown")
