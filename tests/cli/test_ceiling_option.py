"""`freeatten compare --ceiling`: what share of a longer training's gain rows reach."""

import csv

import pytest
from terminal import QUICK, freeatten, refusal


@pytest.fixture(scope="module")
def above(trained, books):
    """A softmax of the same tokenizer, trained at 128 tokens."""
    folder = trained["softmax"].parent
    words = ["--variant", "softmax", "--text", books, "--corpus", folder / "corpus", *QUICK]
    done = freeatten("train", *words, "--length", "128", "--out", folder / "above")
    assert done.code == 0, done.err
    return folder / "above"


def compare(*words):
    done = freeatten("compare", *words, "--len", "4x", "--texts", "3")
    assert done.code == 0, done.err
    return done


def test_a_share_is_of_the_losses_that_stand_beside_it(trained, above, books, tmp_path):
    rows = ["--checkpoint", trained["softmax"], "--checkpoint", trained["lssar:p=15"]]
    table = tmp_path / "shares.csv"
    words = [*rows, "--ceiling", above, "--text", books, "--csv", table]
    result = compare(*words, "--json").result
    assert result["ceiling"] == {
        "variant": "softmax",
        "checkpoint": str(above),
        "train_length": 128,
    }
    first, second, ceiling = result["variants"]
    assert result["lengths"] == [32, 64, 128]
    assert "ceiling_share" not in ceiling
    for row in (first, second):
        gain, its = (row["loss"][0] - each["loss"][2] for each in (row, ceiling))
        wanted = gain / its if its > 0 else None
        assert row["ceiling_share"][2] == (wanted and pytest.approx(wanted, rel=1e-2))
        assert row["ceiling_share"][0] is None
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert [line["ceiling_share"] == "" for line in lines[:3]] == [True, False, False]
    shown = compare(*words).out
    assert "Share of the ceiling's gain, %" in shown


def test_a_ceiling_that_is_a_row_too_is_scored_once(trained, above, books):
    rows = ["--checkpoint", above, "--checkpoint", trained["softmax"]]
    result = compare(*rows, "--ceiling", above, "--text", books, "--json").result
    assert [row["checkpoint"] for row in result["variants"]] == [
        str(trained["softmax"]),
        str(above),
    ]


def test_a_modified_row_of_the_ceilings_folder_is_no_row_that_is_scored_already(above, books):
    words = ["compare", "--checkpoint", f"{above}+window", "--text", books, "--ceiling", above]
    assert "trained at 128" in refusal(2, *words, "--len", "4x")


def test_a_ceiling_alone_is_refused(above, books):
    words = ["compare", "--checkpoint", above, "--text", books, "--ceiling", above]
    assert "the only row" in refusal(2, *words, "--len", "4x")


def test_what_cannot_be_a_ceiling_is_refused_with_the_reason(trained, above, books, tmp_path):
    row = trained["softmax"]
    words = ["compare", "--checkpoint", row, "--text", books]
    assert "must be longer" in refusal(2, *words, "--ceiling", trained["lssar:p=15"])
    asked = refusal(2, *words, "--ceiling", above, "--len", "32,64")
    assert "trained at 128 tokens, which are not among the lengths" in asked
    assert "--len 32,64,128" in asked
    other = tmp_path / "other"
    options = ["--variant", "softmax", "--text", books, *QUICK, "--vocab", "290"]
    done = freeatten("train", *options, "--length", "128", "--out", other)
    assert done.code == 0, done.err
    assert "tokenizer is not that of every row" in refusal(2, *words, "--ceiling", other)
    stored = refusal(2, "compare", "--stored", "stdlib-16x", "--ceiling", above)
    assert "--ceiling cannot go with --stored" in stored
