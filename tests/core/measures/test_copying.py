"""Copying across a gap: what the sequences hold, what a gain means, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from strategies import refused

from freeatten_core import load_checkpoint
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.lengths import parse_totals
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document
from freeatten_core.data.tokenizer import encode, train_tokenizer
from freeatten_core.measures import alignment
from freeatten_core.measures.copying import (
    CopyRequest,
    copy_retrieval,
    default_block,
    draw_samples,
    score_copies,
)
from freeatten_core.models.rows import Row
from freeatten_core.variants.variant import Variant

BLOCK, LENGTHS = 16, (32, 64, 256)
CPU = torch.device("cpu")


def drawn(documents, count=4, seed=0, longest=256, block=BLOCK):
    return draw_samples(
        documents, tiny.tokenizer(), longest=longest, block=block, count=count, seed=seed
    )


@pytest.fixture(scope="module")
def samples():
    return drawn(tiny.documents(6))


# the sequences


@pytest.mark.parametrize("length", LENGTHS)
def test_a_sequence_is_the_block_a_gap_and_the_block_again(samples, length):
    for sample in samples:
        sequence = sample.sequence(length, copied=True)
        assert len(sequence) == length
        assert np.array_equal(sequence[:BLOCK], sample.block)
        assert np.array_equal(sequence[-BLOCK:], sample.block)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_control_differs_in_the_first_copy_alone(samples, length):
    for sample in samples:
        copied, control = (sample.sequence(length, copied=c) for c in (True, False))
        assert np.array_equal(copied[BLOCK:], control[BLOCK:])
        assert not np.array_equal(copied[:BLOCK], control[:BLOCK])


def test_a_longer_gap_ends_like_a_shorter_one(samples):
    for sample in samples:
        short, long = (sample.sequence(length, copied=True) for length in LENGTHS[1:])
        assert np.array_equal(short[BLOCK:], long[BLOCK - len(short) :])


def test_nothing_but_the_block_is_of_the_blocks_own_file():
    letters = [Document(letter, f"{letter} " * 300) for letter in "ABCDE"]
    for sample in drawn(letters, count=5):
        decode = tiny.tokenizer().decode
        assert set(decode(sample.block.tolist())) <= {sample.name, " "}
        around = decode([*sample.gap.tolist(), *sample.other.tolist()])
        assert sample.name not in around
        assert any(letter in around for letter in "ABCDE")


def test_every_sample_has_a_block_of_another_file():
    assert len({sample.name for sample in drawn(tiny.documents(6), count=99)}) == 6


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with refused(UsageError, [f"seed is {seed}"]):
        drawn(tiny.documents(6), seed=seed)


def test_samples_depend_on_the_seed_and_not_on_how_many_there_are(samples):
    assert [s.name for s in drawn(tiny.documents(6), count=2)] == [s.name for s in samples[:2]]
    for one, other in zip(samples, drawn(tiny.documents(6)), strict=True):
        assert np.array_equal(one.sequence(256, copied=True), other.sequence(256, copied=True))
    others = drawn(tiny.documents(6), seed=1)
    assert any(
        not np.array_equal(one.block, other.block)
        for one, other in zip(samples, others, strict=True)
    )


# the gain


def counted(tokens, targets, start, seen):
    """2 nats, or 0 where the last four tokens and the target stood within `seen` tokens before."""
    losses = torch.full(targets[:, start:].shape, 2.0)
    for row in range(len(tokens)):
        text = [*tokens[row].tolist(), int(targets[row, -1])]
        for at in range(start, tokens.shape[1]):
            wanted = text[at - 3 : at + 2]
            first = max(0, at - seen)
            if any(text[i : i + 5] == wanted for i in range(first, at - 3)):
                losses[row, at - start] = 0.0
    return losses


def copier(tokens, targets, start=0):
    return counted(tokens, targets, start, seen=10**9)


def forgetful(tokens, targets, start=0):
    return counted(tokens, targets, start, seen=40)


def test_a_model_that_copies_gains_at_every_length(samples):
    copies = score_copies(copier, samples, LENGTHS, device=CPU)
    assert copies.gain.shape == (4, 3)
    assert (copies.copied < copies.control).all()
    assert (copies.gain > 1).all()


def test_a_model_that_ignores_far_context_gains_exactly_nothing(samples):
    gain = score_copies(forgetful, samples, LENGTHS, device=CPU).gain
    assert (gain[:, 0] > 1).all()
    assert (gain[:, 1:] == 0).all()


def test_only_the_last_block_behind_its_first_token_is_scored(samples):
    seen = []

    def scorer(tokens, targets, start=0):
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        seen.append(targets[:, start:].tolist())
        return torch.zeros(targets[:, start:].shape)

    score_copies(scorer, samples, [64], device=CPU)
    scored = [row for batch in seen for row in batch]
    assert scored == 2 * [sample.block[1:].tolist() for sample in samples]


def test_batches_do_not_change_the_losses(samples, monkeypatch):
    scorer = tiny.model().token_losses
    whole = score_copies(scorer, samples, LENGTHS, device=CPU)
    monkeypatch.setattr("freeatten_core.measures.scoring.BATCH_TOKENS", {"cpu": 1})
    alone = score_copies(scorer, samples, LENGTHS, device=CPU)
    assert np.allclose(whole.copied, alone.copied, atol=1e-5)
    assert np.allclose(whole.control, alone.control, atol=1e-5)


# the result


def measured(rows, watch=None, **changes):
    request = {"lengths": LENGTHS, "block": BLOCK, "documents": tiny.documents(6), "samples": 4}
    return copy_retrieval(
        CopyRequest(rows=rows, source="texts", command="freeatten retrieve", **request | changes),
        watch,
    )


def test_intervals_are_of_the_paired_differences(rows):
    for entry in measured(rows)["variants"]:
        gains = np.array(entry["gain_by_sample"])
        assert gains.shape == (4, 3)
        for column, mean, (low, high) in zip(
            gains.T, entry["gain"], entry["gain_ci95"], strict=True
        ):
            half = stats.t.ppf(0.975, 3) * column.std(ddof=1) / math.sqrt(4)
            assert (mean, low, high) == pytest.approx(
                (column.mean(), column.mean() - half, column.mean() + half), abs=1e-4
            )
        gained = np.array(entry["control"]) - np.array(entry["loss"])
        assert gained == pytest.approx(np.array(entry["gain"]), abs=1e-5)


def test_every_variant_is_asked_the_same(rows, monkeypatch):
    seen = []
    losses = type(rows[0].checkpoint.model).token_losses

    def watched(self, tokens, targets, start=0):
        seen.append((str(self.config.variant), tokens.tolist()))
        return losses(self, tokens, targets, start)

    monkeypatch.setattr(type(rows[0].checkpoint.model), "token_losses", watched)
    measured(rows)
    asked = {name: [tokens for who, tokens in seen if who == name] for name, _ in seen}
    assert len(asked) == 2
    assert asked["softmax"] == asked["lssar:p=15"]


def test_the_result_says_what_was_measured(rows):
    result = measured(rows)
    assert (result["task"], result["block"], result["samples"]) == ("copy", BLOCK, 4)
    assert (result["lengths"], result["train_length"]) == ([32, 64, 256], 16)
    assert result["command"] == "freeatten retrieve"
    assert len(result["text"]["manifest"]) == 4
    assert result["text"]["files"] == 6
    assert [entry["variant"] for entry in result["variants"]] == ["softmax", "lssar:p=15"]


def test_one_sample_has_no_interval(rows):
    (entry, _) = measured(rows, samples=1)["variants"]
    assert entry["gain_ci95"] == [[None, None]] * 3


def test_modifiers_are_applied_for_the_longest_length(rows):
    plain = rows[0]
    stretched = Row(Variant.parse("softmax+yarn"), plain.checkpoint)
    one, other = measured([plain, stretched])["variants"]
    assert one["gain"] != other["gain"]
    one, other = measured([plain, stretched], lengths=[32], block=8)["variants"]
    assert one["gain"] != other["gain"]


def test_progress_adds_up_to_what_was_announced(rows):
    totals, done, seen = [], [], []
    watch = Watch(totals.append, done.append, lambda _, n, of: seen.append((n, of)))
    measured([rows[0], aligned(rows[0])], watch)
    assert sum(done) == pytest.approx(sum(totals))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2


# what is fitted first


def aligned(row):
    return replace(row, variant=Variant.parse("softmax+align"))


def test_temperatures_are_fitted_at_any_lengths(rows):
    plain, fitted = measured([rows[0], aligned(rows[0])], lengths=(50, 75, 200))["variants"]
    assert sorted(fitted["temperatures"]) == [50, 75, 200]
    assert all(0.25 <= value <= 16 for value in fitted["temperatures"].values())
    assert "temperatures" not in plain
    assert fitted["gain"] != plain["gain"]


def test_up_to_the_training_length_nothing_is_fitted_and_no_file_held_out(rows):
    result = measured([rows[0], aligned(rows[0])], lengths=(8, 16), block=4)
    plain, fitted = result["variants"]
    assert fitted["temperatures"] == {}
    assert fitted["gain"] == plain["gain"]
    assert result["text"]["files"] == 6


@pytest.fixture
def fitted(monkeypatch):
    """The texts of every fit, which finds 1.5 for every length."""
    found = []

    def fit(_model, _variant, texts, lengths, **_):
        found.append(texts)
        return dict.fromkeys(lengths, 1.5)

    monkeypatch.setattr(alignment, "fit_temperatures", fit)
    return found


def with_tokenizer(tokenizer, folder):
    other = load_checkpoint(tiny.save(folder / "other", tiny.model(), tokenizer))
    return aligned(Row(other.config.variant, other))


def test_files_are_held_out_once_and_read_with_each_rows_own_tokenizer(rows, tmp_path, fitted):
    documents = {document.name: document.text for document in tiny.documents(6)}
    letters = train_tokenizer([tiny.prose(9)], 270)
    result = measured([aligned(rows[0]), with_tokenizer(letters, tmp_path)])
    for texts, tokenizer in zip(fitted, (tiny.tokenizer(), letters), strict=True):
        assert len(texts) == 2
        for text in texts:
            assert len(text.tokens) == 257
            assert tokenizer.decode(text.tokens.tolist()) in documents[text.name]
    one, two = ({text.name for text in texts} for texts in fitted)
    assert one == two
    assert not one & set(result["text"]["manifest"])
    assert result["text"]["files"] == 4


@pytest.mark.parametrize("seed", range(4))
def test_files_held_out_are_long_enough_for_every_tokenizer(rows, tmp_path, fitted, seed):
    short = tiny.documents(2, words=48)  # fewer than 200 tokens for one tokenizer alone
    letters = with_tokenizer(train_tokenizer(["a"], 257), tmp_path)
    lengths = [len(encode(row.checkpoint.tokenizer, short[0].text)) for row in (rows[0], letters)]
    assert lengths[0] < 200 < lengths[1]
    documents = [*short, *tiny.documents(6)[2:]]
    measured([letters, aligned(rows[0])], documents=documents, lengths=[32, 200], seed=seed)
    for texts in fitted:
        assert len({text.name for text in texts} - {document.name for document in short}) == 2


def test_too_few_files_beside_those_fitted_on_are_said(rows):
    with refused(UsageError, ["align is fitted on 2", "1 of 3 files", "at least 2"]):
        measured([aligned(rows[0])], documents=tiny.documents(3))


# what is refused


def test_one_file_is_not_enough():
    with refused(UsageError, ["at least 2 files", "the text is 1"]):
        drawn(tiny.documents(1))


def test_two_files_of_one_text_are_one():
    (document,) = tiny.documents(1)
    with refused(UsageError, ["the text is 1, and 1 that repeat it"]):
        drawn([document, Document("again.txt", document.text)])


def test_too_little_text_says_how_much_there_is_and_what_would_fit():
    documents = tiny.documents(2, words=40)
    other = sorted(len(tiny.tokenizer().encode(d.text).ids) for d in documents)
    with pytest.raises(UsageError) as caught:
        drawn(documents, longest=4096)
    sentence = str(caught.value)
    assert "and 4,080 are needed" in sentence
    assert any(f"have {n:,} tokens" in sentence for n in other)
    fits = int(sentence.split("--len ")[1].split(" ", maxsplit=1)[0])
    assert drawn(documents, longest=fits, count=1)


def test_files_shorter_than_a_block_are_refused():
    with refused(UsageError, ["no file has 500 tokens"]):
        drawn(tiny.documents(3, words=16), block=500, longest=1000)


def test_a_length_that_cannot_hold_the_block_twice_is_refused(rows):
    with refused(UsageError, ["31 tokens", "a block of 16 twice", "from 32 on"]):
        measured(rows, lengths=[31, 64])


# the lengths


@pytest.mark.parametrize(
    ("text", "trained", "lengths"),
    [
        ("4x", [512], [256, 512, 1024, 2048]),
        ("16x", [32], [16, 32, 64, 128, 256, 512]),
        ("700", [512], [256, 512, 700]),
        ("100", [512], [100]),
        ("1x,4x", [512], [512, 2048]),
        ("2048,256", [512, 256], [256, 2048]),
        ("1024", [512, 256], [128, 256, 512, 1024]),
    ],
)
def test_lengths_are_doubled_from_half_the_training_length(text, trained, lengths):
    assert parse_totals(text, trained) == lengths


@pytest.mark.parametrize("text", ["", "0", "x", "-4", "1.5x", "4x,"])
def test_what_is_no_length_is_refused(text):
    with refused(UsageError, ["--len", "is not a length"]):
        parse_totals(text, [512])


def test_the_block_is_an_eighth_of_the_training_length():
    assert (default_block([512]), default_block([1024, 256]), default_block([16])) == (64, 32, 8)
