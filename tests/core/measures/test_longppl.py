"""LongPPL: which tokens are key, what their short context is, and whose loss counts."""

import math

import causal
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core import Variant, load_causal_model, load_checkpoint
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.selection import select_texts
from freeatten_core.measures import longppl
from freeatten_core.measures.longppl import (
    LongPplRequest,
    Truncation,
    full_losses,
    key_tokens,
    measure_longppl,
    short_losses,
)
from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.results.longppl import longppl_warning

CPU = torch.device("cpu")


def reads(tokens, _targets, start=0):
    """A scorer whose loss of a target is how many tokens it was read."""
    return torch.arange(1.0, tokens.shape[1] + 1).expand(len(tokens), -1)[:, start:]


@given(st.integers(2, 20), st.integers(0, 40))
def test_a_short_context_has_the_truncations_tokens_and_at_most_a_quarter_more(tokens, more):
    cut = Truncation(tokens)
    length = cut.window + 1 + more
    text = torch.zeros(2, length + 1, dtype=torch.long)
    short = short_losses(reads, text, cut, device=CPU)
    assert short.shape == (2, length)
    assert np.isnan(short[:, : tokens - 1]).all()
    judged = short[:, tokens - 1 :]
    assert judged.min() == tokens
    assert judged.max() <= tokens + cut.stride - 1
    assert np.array_equal(full_losses(reads, text, device=CPU)[0], np.arange(1, length + 1))


def test_a_token_is_key_where_far_context_tells_it():
    full = np.array([[1.9, 1.9, 2.0, 0.1, 0.1, 0.1]], dtype=np.float32)
    short = np.array([[np.nan, 4.0, 9.0, 2.1, 2.2, 0.5]], dtype=np.float32)
    marks = key_tokens(short, full, Truncation(2))
    # too near the start; gains 2.1; not known; gains exactly 2; gains 2.1; gains little
    assert marks.tolist() == [[False, True, False, False, True, False]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(tiny.save(tmp_path_factory.mktemp("models") / "tiny"))


def measured(checkpoint, *variants, watch=None, **changes):
    rows = [Row(Variant.parse(each), checkpoint) for each in variants or ("softmax",)]
    values = {
        "rows": rows,
        "evaluator": rows[0],
        "documents": tiny.documents(5),
        "source": "tiny",
        "length": 32,
        "truncation": 8,
        "command": "freeatten longppl",
        "texts": 3,
    }
    return measure_longppl(LongPplRequest(**values | changes), watch)


def test_a_row_is_scored_on_the_evaluators_tokens_with_all_before_them(checkpoint, monkeypatch):
    marks = np.zeros((3, 32), dtype=bool)
    marks[0, 10:14] = marks[2, 20] = True
    monkeypatch.setattr(longppl, "key_tokens", lambda *_: marks)
    done, whole = [], []
    watch = Watch(total=whole.append, advance=done.append)
    result = measured(checkpoint, "softmax", "softmax+window", watch=watch)
    assert sum(done) == pytest.approx(whole[0])
    texts = select_texts(tiny.documents(5), checkpoint.tokenizer, 32, 3, 0).texts
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    for row in result["variants"]:
        model = checkpoint.model.with_modifiers(Variant.parse(row["variant"]), 32)
        losses = model.token_losses(tokens[:, :-1], tokens[:, 1:]).numpy()
        judged = np.arange(32) >= 7
        assert row["key_loss"] == pytest.approx(losses[marks].mean(), abs=1e-4)
        assert row["longppl"] == pytest.approx(math.exp(row["key_loss"]), rel=1e-4)
        assert row["rest_loss"] == pytest.approx(losses[judged & ~marks].mean(), abs=1e-4)
        assert row["loss"] == pytest.approx(losses[:, 7:].mean(), abs=1e-4)
        low, high = row["key_loss_ci95"]
        assert low <= row["key_loss"] <= high
    assert (result["tokens"], result["key_tokens"]) == (75, 5)
    assert (result["truncation"], result["stride"]) == (8, 2)


def test_where_no_token_is_key_there_is_no_longppl(checkpoint):
    """An untrained evaluator knows nothing."""
    (row,) = measured(checkpoint)["variants"]
    assert (row["longppl"], row["key_loss"], row["longppl_ci95"]) == (None, None, [None, None])
    assert row["rest_loss"] == row["loss"]


def test_a_truncation_that_is_no_shorter_than_a_text_is_refused(checkpoint):
    with refused(UsageError, ["truncation is 32 tokens", "less than the 32 of a text"]):
        measured(checkpoint, truncation=32)


def test_an_evaluator_with_another_tokenizer_is_refused(checkpoint, tmp_path):
    letters = tiny.tokenizer(280)
    other = load_checkpoint(
        tiny.save(tmp_path / "other", tiny.model(vocab_size=letters.get_vocab_size()), letters)
    )
    with refused(UsageError, ["different tokenizers"]):
        measured(checkpoint, evaluator=Row(Variant(), other))


def test_a_model_of_others_judges_and_is_judged(tmp_path):
    model = load_causal_model(str(causal.save(tmp_path / "llama", causal.network("llama"))))
    row = CausalRow(model, 16)
    given = {"documents": tiny.documents(4, 2000), "source": "x", "command": "c", "texts": 2}
    request = LongPplRequest(rows=[row], evaluator=row, length=64, truncation=16, **given)
    result = measure_longppl(request)
    (entry,) = result["variants"]
    drawn = select_texts(tiny.documents(4, 2000), row.tokenizer, 64, 2, 0)
    tokens = torch.from_numpy(np.stack([text.tokens for text in drawn.texts]))
    losses = model.token_losses(tokens[:, :-1], tokens[:, 1:])[:, 15:]
    assert entry["loss"] == pytest.approx(float(losses.double().mean()), abs=1e-5)
    for facts in (result["evaluator"], entry):
        assert (facts["restart_length"], facts["declared_length"]) == (16, causal.DECLARED)
    assert longppl_warning(result) == ""
    assert f"declares {causal.DECLARED}" in longppl_warning({**result, "length": 4096})


def test_a_short_context_that_is_not_finite_is_refused(checkpoint, monkeypatch):
    short = longppl.short_losses

    def broken(*arguments, **options):
        found = short(*arguments, **options)
        found[:, 9] = np.nan
        return found

    monkeypatch.setattr(longppl, "short_losses", broken)
    with refused(ContentError, ["the evaluator: not finite", "at 8 tokens, target 10 of the text"]):
        measured(checkpoint)
