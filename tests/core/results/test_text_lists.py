"""The texts that a model card lists: all of them, a line a licence and a line an author."""

import pytest

from freeatten_core.basics.assets import assets
from freeatten_core.models.catalogue import read_curve, shipped
from freeatten_core.results.cards import card
from freeatten_core.variants.variant import Variant


def listed(text):
    """What stands under each first word of a card's lists, by the source."""
    found = {}
    for source in text.split("\n## Text it was trained on\n")[1].split("\n### ")[1:]:
        lines = [line[2:].rsplit(": ", 1) for line in source.splitlines() if line.startswith("- ")]
        found[source.splitlines()[0]] = {first: rest.split("; ") for first, *(rest,) in lines}
    return found


@pytest.mark.parametrize("name", shipped())
def test_every_package_has_its_licence_and_every_book_its_author(name):
    folder = assets() / "checkpoints" / name
    lists = listed((folder / "README.md").read_text(encoding="utf-8"))
    packages, books = read_curve(folder)["text"]["sources"]
    expected = {}
    for each in packages["packages"]:
        expected.setdefault(each["licence"], []).append(f"{each['name']} {each['version']}")
    assert len(expected) > 20
    assert lists["packages"] == expected
    titles = [f"{author}/{title}" for author, of in lists["books-train"].items() for title in of]
    assert titles == [each.removesuffix(".txt").replace("-", " ") for each in books["documents"]]


def test_a_file_that_lies_in_no_folder_is_a_line():
    about = read_curve(assets() / "checkpoints" / "softmax")
    _, books = about["text"]["sources"]
    texts = {
        "sources": [{**books, "documents": ["a-b.txt", "c/d-e.txt", "f.md", "c/g.txt", "c.txt"]}]
    }
    made = card(Variant.parse("softmax"), {**about, "text": texts}, {})
    assert made.endswith("standard library.\n\n- a b\n- c: d e; g\n- f.md\n- c\n")
