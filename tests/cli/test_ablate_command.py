"""`freeatten ablate` prints what the library measures, and bad input is a sentence."""

import csv

import causal
import pytest
from terminal import freeatten, refusal

from freeatten_core import load_checkpoint
from freeatten_core.data.documents import path_documents
from freeatten_core.measures.ablation import UNDONE, AblateRequest, ablate
from freeatten_core.models.rows import Row
from freeatten_core.results.ablation import UNDONE_TITLES, ablation_reading


def ablated(model, books, *words):
    where = ("--checkpoint", model, "--text", books, "--len", "4x", "--texts", "2")
    done = freeatten("ablate", *where, *words)
    assert done.code == 0, done.err
    return done


def test_json_is_what_the_library_measures(model, books):
    result = ablated(model, books, "--json").result
    checkpoint = load_checkpoint(model)
    wanted = ablate(
        AblateRequest(
            rows=[Row(checkpoint.config.variant, checkpoint)],
            length=128,
            documents=path_documents(books),
            source=str(books),
            command="freeatten ablate",
            texts=2,
        )
    )
    assert (result["length"], result["texts"]) == (128, 2)
    assert result["text"] == wanted["text"]
    (entry,), (expected,) = result["variants"], wanted["variants"]
    assert entry["delta"] == pytest.approx(expected["delta"], abs=1e-4)
    for head, other in zip(entry["heads"], expected["heads"], strict=True):
        assert head["change"] == pytest.approx(other["change"], abs=1e-4)


def test_prints_every_undoing_the_heads_and_how_to_repeat_it(model, books):
    out = ablated(model, books).out
    for words in ("Δ at 128 tokens", *UNDONE_TITLES.values(), "0.0 ", "again: freeatten ablate"):
        assert words in out
    assert "hiding far keys lowers the loss most" not in ablated(model, books, "--no-heads").out


def test_csv_has_what_json_has(model, books, tmp_path):
    path = tmp_path / "ablate.csv"
    result = ablated(model, books, "--json", "--csv", path).result
    lines = list(csv.DictReader(path.open(encoding="utf-8")))
    (row,) = result["variants"]
    whole = [line for line in lines if not line["layer"]]
    assert {line["undone"]: float(line["delta"]) for line in whole} == row["delta"]
    for line in whole:
        bounds = [float(line["delta_low"]), float(line["delta_high"])]
        assert bounds == row["delta_ci95"][line["undone"]]
    heads = [line for line in lines if line["layer"]]
    assert [float(line["change"]) for line in heads] == [head["change"] for head in row["heads"]]
    assert {(line["variant"], line["length"], line["texts"]) for line in lines} == {
        ("lssar:p=15", "128", "2")
    }


@pytest.mark.parametrize("texts", ["1", "2"])
def test_the_picture_as_a_page_without_and_with_intervals(model, books, tmp_path, texts):
    path = tmp_path / "ablate.html"
    ablated(model, books, "--texts", texts, "--html", path)
    assert "What of Δ at 128 tokens goes away" in path.read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    for option, name in (("--png", "a.svg"), ("--csv", "a.txt")):
        words = ("--checkpoint", "no-such-model", option, tmp_path / name)
        assert f"the name must end in {option.replace('--', '.')}" in refusal(2, "ablate", *words)


def test_says_that_the_scale_leaves_the_bias_of_sigmoid():
    def reading(*names):
        return ablation_reading(
            {"train_length": 512, "variants": [{"variant": name} for name in names]}
        )

    assert "−log N" not in reading("softmax", "lssar:p=15")
    assert "−log N in the score of sigmoid goes on falling" in reading("softmax", "sigmoid")


def test_everything_that_is_undone_has_a_title():
    assert list(UNDONE_TITLES) == ["intact", *UNDONE]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--len", "1x"), "--len is 32; it must be 2 or more times the training length, 32"),
        (("--len", "100"), "--len is 100; it must be 2 or more times"),
        (("--len", "0"), "--len is '0'"),
        (("--len", "4000x"), "the text is too short"),
    ],
)
def test_bad_input_gets_one_sentence(model, books, words, says):
    assert says in refusal(2, "ablate", "--checkpoint", str(model), "--text", str(books), *words)


def test_a_model_of_others_is_asked_twice_what_it_declares_and_not_its_heads(books, tmp_path):
    folder = causal.save(tmp_path / "llama", causal.network("llama", max_position_embeddings=32))
    where = ("--checkpoint", folder, "--text", books, "--texts", "1")
    done = freeatten(
        "ablate", *where, "--html", tmp_path / "page.html", "--csv", tmp_path / "a.csv"
    )
    assert done.code == 0, done.err
    words = " ".join(done.out.split())
    assert "Δ at 64 tokens" in words
    assert "as the farthest keys of 32 declared tokens are" in words
    assert "hiding far keys" not in words
    heads = freeatten("ablate", *where, "--heads", "--len", "64", "--json").result
    assert (heads["declared_length"], heads["length"]) == (32, 64)
    assert len(heads["variants"][0]["heads"]) == 8
    said = refusal(2, "ablate", *where, "--len", "4x")
    assert "4x" in said
