"""`freeatten longppl` prints and writes what is measured."""

import csv

import pytest
from terminal import freeatten, refusal


def longppl(model, books, *words, **settings):
    where = ("--evaluator", model, "--checkpoint", model, "--text", books, "--len", "4x")
    done = freeatten("longppl", *where, "--truncate", "16", "--texts", "2", *words, **settings)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("columns", [40, 80])
def test_it_prints_a_table_within_the_window_and_how_to_repeat_it(model, books, columns):
    done = longppl(model, books, columns=columns)
    assert max(map(len, done.out.splitlines())) <= columns
    for words in ("LongPPL at 128 tokens", "key tokens:", "again: freeatten longppl"):
        assert words in " ".join(done.out.split())
    assert "the evaluator was trained at 32 tokens" in " ".join(done.out.split())


def test_json_csv_and_page_say_the_same(model, books, tmp_path):
    lines, page = tmp_path / "lines.csv", tmp_path / "page.html"
    result = longppl(model, books, "--json", "--csv", lines, "--html", page).result
    (row,), (line,) = result["variants"], list(csv.DictReader(lines.open()))
    assert float(line["rest_loss"]) == row["rest_loss"]
    assert int(line["key_tokens"]) == result["key_tokens"]
    assert "only far context tells" in page.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--evaluator", "softmx"), "did you mean 'softmax'?"),
        (("--len", "64", "--truncate", "60"), "it must be less than the 64 of a text"),
        (("--csv", "lines.txt"), "must end in .csv"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(model, books, words, says):
    where = ("--evaluator", model, "--checkpoint", model, "--text", books)
    assert says in refusal(2, "longppl", *where, *words)


def test_quiet_gives_the_result_alone(model, books):
    loud, quiet = longppl(model, books, "--json"), longppl(model, books, "--json", "--quiet")
    assert quiet.err == ""
    assert "lssar:p=15  LongPPL" in loud.err
    assert quiet.result.keys() == loud.result.keys()


def test_an_evaluator_has_to_be_named():
    assert "--evaluator" in refusal(2, "longppl")
