"""`freeatten entropy --statistic loss`: the one statistic that is of the whole model."""

import csv

import numpy as np
import pytest
import torch
from terminal import freeatten, refusal

from freeatten_core import load_checkpoint
from freeatten_core.data.documents import path_documents
from freeatten_core.data.selection import select_prefix, select_texts
from freeatten_core.measures.by_token import token_losses

LENGTH = 96


def losses_of(model, texts):
    """Nats per token, (texts, L − 1)."""
    scorer = load_checkpoint(model).model.token_losses
    cpu = torch.device("cpu")
    return np.stack(
        [token_losses(scorer, torch.from_numpy(each.tokens), device=cpu) for each in texts]
    )


def entropy(model, books, *words):
    where = ("--checkpoint", model, "--text", books, "--len", str(LENGTH))
    done = freeatten("entropy", *where, "--statistic", "loss", *words)
    assert done.code == 0, done.err
    return done


def test_it_is_that_of_every_token(model, books, tmp_path):
    path = tmp_path / "loss.csv"
    found = entropy(model, books, "--json", "--csv", path).result
    drawn = select_prefix(path_documents(books), load_checkpoint(model).tokenizer, LENGTH, 0)
    losses = losses_of(model, [drawn])
    (entry,) = found["variants"]
    assert entry["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert "heads" not in entry
    lines = list(csv.DictReader(path.open()))
    assert [float(line["loss"]) for line in lines] == entry["by_position"]
    assert len(lines) == 64


def test_of_several_texts_it_is_the_mean(model, books):
    entry = entropy(model, books, "--texts", "3", "--json").result["variants"][0]
    tokenizer = load_checkpoint(model).tokenizer
    texts = select_texts(path_documents(books), tokenizer, LENGTH - 1, 3, 0).texts
    assert entry["loss"] == pytest.approx(losses_of(model, texts).mean(), rel=1e-5)


def test_it_is_printed_and_drawn(model, books, tmp_path):
    page = tmp_path / "loss.html"
    shown = entropy(model, books, "--html", page).out
    assert "loss (nats per token) by position, of the whole model" in shown
    assert "nats per token" in page.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("--layer", "0", "--head", "0"),
        ("--layers", "0"),
        ("--by", "length"),
        ("--top", "3"),
        ("--sinks",),
    ],
)
def test_what_is_of_heads_is_refused_with_it(model, books, words):
    where = ("--checkpoint", model, "--text", books, "--len", str(LENGTH))
    said = refusal(2, "entropy", *where, "--statistic", "loss", *words)
    assert f"--statistic loss is of the whole model; leave out {words[0]}" in said
