"""`freeatten compare` with models of the transformers library."""

from __future__ import annotations

import csv
import json
import sys

import causal
import pytest
from terminal import freeatten, refusal

from freeatten_core.figures.comparison import comparison_figure

WORDS = ("--len", "256", "--restart", "64", "--texts", "2")


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return causal.save(tmp_path_factory.mktemp("others") / "llama", causal.network("llama"))


def compare(*words):
    return freeatten("compare", *words)


def test_the_tables_say_declared_and_never_trained(llama, books, tmp_path):
    done = compare("--checkpoint", llama, "--text", books, *WORDS, "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert "┊ declared: 128 tokens" in done.out
    assert "declared length in tokens, which is not what was trained on" in done.out
    assert "trained up to" not in done.out
    page = (tmp_path / "page.html").read_text()
    assert "declared" in page
    assert "Declared for 128 tokens, asked to read 256" in page
    assert "trained up to here" not in page


def test_the_verdict_stands_at_the_declared_length_too(llama, books):
    done = compare("--checkpoint", llama, "--text", books, *WORDS)
    assert "At 256 tokens" in done.out
    assert "At the declared length, in tokens" in done.out
    assert "at 128" in done.out.partition("At the declared length")[2]


def test_several_tokenizers_are_drawn_in_bits_per_byte(llama, model, books):
    done = compare("--checkpoint", model, "--checkpoint", llama, "--text", books, *WORDS, "--json")
    result = json.loads(done.out)
    figure = comparison_figure(result)
    drawn = [list(trace.y) for trace in figure.data if trace.y is not None]
    for row in result["variants"]:
        assert row["bits_per_byte"] in drawn
        assert row["loss"] not in drawn
    assert "bits per byte" in figure.layout.yaxis.title.text
    assert not any("guessing" in (note.text or "") for note in figure.layout.annotations)


def test_json_and_csv_have_both_lengths(llama, books, tmp_path):
    path = tmp_path / "rows.csv"
    done = compare("--checkpoint", llama, "--text", books, *WORDS, "--json", "--csv", path)
    row = json.loads(done.out)["variants"][0]
    assert (row["restart_length"], row["declared_length"]) == (64, 128)
    assert "train_length" not in row
    assert row["sliding_delta"] is not None
    assert row["window_delta"] is not None
    with path.open() as file:
        first = next(csv.DictReader(file))
    assert (first["train_length"], first["restart_length"], first["declared_length"]) == (
        "",
        "64",
        "128",
    )


def test_beside_one_of_our_own_the_view_says_what_can_be_compared(llama, model, books):
    done = compare("--checkpoint", model, "--checkpoint", llama, "--text", books, *WORDS)
    assert done.code == 0, done.err
    words = " ".join(done.out.split())
    assert "nats per token cannot be compared between rows" in words
    assert "over the bytes that every row scored at its longest length" in words
    assert "Bits per byte by context length" in words


def test_without_len_the_lengths_are_of_what_is_declared(llama, books):
    done = compare("--checkpoint", llama, "--text", books, "--texts", "1", "--json")
    result = json.loads(done.out)
    assert result["lengths"] == [128, 256]
    assert result["restart_length"] == 128


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--len", "4x"), "so × means nothing; give lengths in tokens"),
        (("--len", "256", "--restart", "96"), "96 tokens do not divide the longest, 256"),
        (("--len", "1048576"), "the text is too short"),
    ],
)
def test_lengths_that_do_not_suit_are_refused(llama, books, words, said):
    assert said in refusal(2, "compare", "--checkpoint", llama, "--text", books, *words)


def test_a_restart_for_models_of_our_own_is_refused(model, books):
    assert "--restart 64 goes with models of others only" in refusal(
        2, "compare", "--checkpoint", model, "--text", books, "--restart", "64"
    )


def test_without_the_library_a_sentence_says_what_to_install(llama, books, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'freeatten[models]'" in refusal(
        2, "compare", "--checkpoint", llama, "--text", books
    )


def test_a_model_that_is_spread_has_the_same_table(llama, books):
    words = ("--checkpoint", llama, "--text", books, *WORDS, "--device", "cpu", "--json")
    plain, spread = (compare(*words, *more).result for more in ((), ("--device-map", "auto")))
    (row,), (other,) = plain["variants"], spread["variants"]
    assert other["loss"] == pytest.approx(row["loss"], abs=2e-6)
    assert other["window_delta"] == pytest.approx(row["window_delta"], abs=2e-6)
    said = refusal(2, "compare", *words, "--device-map", "disk")
    assert "--device-map is 'disk'; it can be auto" in said
