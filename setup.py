"""The page of a package index: the README without what lies in the repository.

An index has no copy of pictures and pages and resolves no path to them, so a picture stands there
as the words that describe it, and a link to a page as its text. All else is in `pyproject.toml`.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

PICTURE = re.compile(r'(?:<a [^>]*>)?<picture>.*?alt="([^"]*)".*?</picture>(?:</a>)?', re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)[^)]+\)")


def index_page(readme: str) -> str:
    """Markdown without a path into the repository."""
    return LINK.sub(r"\1", PICTURE.sub(r"*Picture: \1.*", readme))


FOLDERS = {"freeatten_core": "freeatten_core", "freeatten_cli": "cli", "freeatten_app": "app"}
"""What a folder is installed as; as `package-dir` in pyproject.toml."""


def packages() -> list[str]:
    """Every folder with Python, found and not listed."""
    here = Path(__file__).resolve().parent
    found = ["freeatten_assets"]
    for name, folder in FOLDERS.items():
        found += [name, *(f"{name}.{inner}" for inner in find_packages(str(here / folder)))]
    return found


if __name__ == "__main__":
    page = index_page(Path("README.md").read_text(encoding="utf-8"))
    setup(packages=packages(), long_description=page, long_description_content_type="text/markdown")
