"""`freeatten field` prints and writes what is measured."""

import csv

import causal
import pytest
from terminal import freeatten, refusal


def field(model, books, *words, **settings):
    where = ("--checkpoint", model, "--text", books, "--len", "2x", "--texts", "2")
    done = freeatten("field", *where, *words, **settings)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("columns", [40, 80])
def test_it_prints_field_chart_and_how_to_repeat_it_within_the_window(model, books, columns):
    done = field(model, books, columns=columns)
    assert max(map(len, done.out.splitlines())) <= columns
    for words in ("Receptive field at 64 tokens", "% within", "again: freeatten field"):
        assert words in done.out
    assert "lssar:p=15  receptive field:" in done.err


def test_json_csv_and_page_say_the_same(model, books, tmp_path):
    lines, page = tmp_path / "lines.csv", tmp_path / "page.html"
    result = field(model, books, "--json", "--csv", lines, "--html", page).result
    (row,) = result["variants"]
    found = list(csv.DictReader(lines.open()))
    assert (
        [int(line["distance"]) for line in found] == result["distances"] == [1, 2, 4, 8, 16, 32, 64]
    )
    assert [float(line["share"]) for line in found] == row["share"]
    assert {float(line["field"]) for line in found} == {row["field"]}
    assert "change what is said next" in page.read_text()


def test_what_cannot_be_done_is_a_sentence(model, books):
    words = ("field", "--checkpoint", f"{model}+rerope", "--text", books, "--len", "2x")
    assert "rerope has no gradient" in refusal(2, *words)
    assert "must end in .csv" in refusal(2, "field", "--csv", "lines.txt")


def test_a_model_of_others_is_refused_by_what_it_is(books, tmp_path):
    folder = causal.save(tmp_path / "llama", causal.network("llama"))
    said = refusal(2, "field", "--checkpoint", folder, "--text", books, "--len", "64")
    assert "is a model of the transformers library" in said
