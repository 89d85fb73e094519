"""Loss against length, by scorers whose losses can be worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from strategies import refused

from freeatten_core import load_checkpoint, loss_by_length
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.shards import WHOLE, shards
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import Text, select_prefix, select_texts
from freeatten_core.data.tokenizer import encode
from freeatten_core.measures import scoring
from freeatten_core.measures.controls import sliding_losses, windowed_losses
from freeatten_core.measures.scoring import joined, score_texts, scoring_cost, swapped_losses

CPU = torch.device("cpu")
L, M = 8, 64
LENGTHS = (8, 16, 32, 64)


def counting_texts(count=3, longest=M):
    """Texts whose tokens are numbered 1000·text + place."""
    steps = np.arange(longest + 1)
    return [Text(str(index), 1000 * index + steps) for index in range(count)]


class Scorer:
    """Loss: 100 · target + place in the window. Keeps the windows that it was given."""

    def __init__(self):
        self.windows = []

    def __call__(self, tokens, targets, start=0):
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        self.windows += [(row[0].item(), len(row), start) for row in tokens]
        place = torch.arange(tokens.shape[1])
        return (100.0 * targets + place)[:, start:]


def scored(lengths=LENGTHS, train_length=L, texts=None):
    texts = texts or counting_texts()
    return score_texts(Scorer(), texts, lengths, train_length, device=CPU)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_TOKENS", {"cpu": 24})


def places_of(table):
    """The place in its window at which every target was scored, (texts, M)."""
    targets = np.stack([text.tokens[1:] for text in counting_texts(len(table))])
    return table - 100.0 * targets


# windows


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_scores_the_same_tokens_in_whole_windows(length):
    places = places_of(scored().by_length[length])
    np.testing.assert_array_equal(places, np.tile(np.arange(M) % length, (3, 1)))


def test_a_restarted_token_has_half_to_all_of_the_training_length_before_it():
    restart = scored().restart
    assert np.isnan(restart[:, : L // 2]).all()
    expected = L // 2 + np.arange(M) % (L // 2)
    np.testing.assert_array_equal(places_of(restart)[:, L // 2 :], np.tile(expected, (3, 1))[:, 4:])


def test_the_windows_scored_are_these_and_no_others():
    scorer = Scorer()
    score_texts(scorer, counting_texts(2, 16), (8, 16), 8, device=CPU)
    assert sorted(scorer.windows) == sorted(
        (1000 * text + start, length, scored_from)
        for text in range(2)
        for start, length, scored_from in ((0, 8, 0), (8, 8, 0), (0, 16, 0), (4, 8, 4))
    )


@pytest.mark.usefixtures("small_batches")
def test_batches_do_not_change_a_loss():
    few = scored()
    scoring.BATCH_TOKENS = {"cpu": 10**6}
    many = scored()
    for length in LENGTHS:
        np.testing.assert_array_equal(few.by_length[length], many.by_length[length])
    np.testing.assert_array_equal(few.restart, many.restart)


@pytest.mark.usefixtures("small_batches")
def test_a_batch_is_as_large_as_allowed_or_one_window():
    sizes = []
    scorer = Scorer()

    def watched(tokens, targets, start=0):
        sizes.append(tokens.numel())
        return scorer(tokens, targets, start)

    score_texts(watched, counting_texts(), LENGTHS, L, device=CPU)
    assert set(sizes) == {16, 24, 32, 64}  # two or three windows, or one that is longer


@pytest.mark.parametrize("lengths", [(8, 16), (16, 64), (32,), LENGTHS])
def test_the_cost_announced_is_the_cost_reported(lengths):
    texts, costs = counting_texts(longest=max(lengths)), []
    score_texts(Scorer(), texts, lengths, L, device=CPU, advance=costs.append)
    assert sum(costs) == pytest.approx(scoring_cost(3, lengths, L))
    assert min(costs) > 0


def test_only_the_lengths_asked_are_kept():
    losses = scored(lengths=(16, 64))
    assert sorted(losses.by_length) == [16, 64]
    assert losses.longest == 64


# shards of the texts


@pytest.mark.parametrize("of", [2, 3, 5])
def test_shards_joined_are_the_whole(of):
    whole, scorer = scored(), Scorer()
    parts = [
        score_texts(scorer, counting_texts(), LENGTHS, L, device=CPU, shard=shard)
        for shard in shards(of)
    ]
    found = joined(parts)
    for length in LENGTHS:
        np.testing.assert_array_equal(found.by_length[length], whole.by_length[length])
    np.testing.assert_array_equal(found.restart, whole.restart)
    alone = Scorer()
    score_texts(alone, counting_texts(), LENGTHS, L, device=CPU)
    assert sorted(scorer.windows) == sorted(alone.windows)  # nothing is scored twice


class ContextScorer:
    """Loss: the mean of all that was read, and the target."""

    def __call__(self, tokens, targets, start=0):
        return (tokens.double().mean(dim=1, keepdim=True) + targets)[:, start:]


@pytest.mark.parametrize("measure", [swapped_losses, sliding_losses, windowed_losses])
@pytest.mark.parametrize("of", [2, 3])
def test_controls_of_shards_joined_are_those_of_the_whole(measure, of):
    """A shard swaps in the next text of all, its own or another shard's."""
    texts = counting_texts()
    asked = (LENGTHS, L) if measure is swapped_losses else (L,)
    tables = [
        measure(ContextScorer(), texts, *asked, device=CPU, shard=shard)
        for shard in (WHOLE, *shards(of))
    ]
    if measure is swapped_losses:
        assert np.abs(tables[0][16]).min() > 0
        tables = [np.stack(list(table.values()), axis=1) for table in tables]
    np.testing.assert_array_equal(np.concatenate(tables[1:]), tables[0])


# what is made of them


def test_means_by_hand():
    losses = scored(texts=counting_texts(2))
    # targets 1…64 of text 0 and 1001…1064 of text 1; places 0…15, four times
    assert losses.mean(16).tolist() == [100 * 32.5 + 7.5, 100 * 1032.5 + 7.5]
    # targets 5…64; places 4…7
    assert losses.restart_mean().tolist() == [100 * 34.5 + 5.5, 100 * 1034.5 + 5.5]


@pytest.mark.parametrize("length", LENGTHS)
def test_delta_by_hand(length):
    """The last half of a window of ℓ has places ℓ/2…ℓ − 1, the restart L/2…L − 1."""
    assert scored().delta(length).tolist() == [0.75 * (length - L)] * 3


@pytest.mark.parametrize("train_length", [2, 4, 8, 7, 9])
def test_delta_is_0_at_the_training_length(train_length):
    lengths = (train_length, 4 * train_length)
    losses = scored(lengths, train_length, counting_texts(longest=4 * train_length))
    assert losses.delta(train_length).tolist() == [0, 0, 0]
    assert (losses.delta(4 * train_length) > 0).all()
    assert np.isnan(losses.restart).sum() == 3 * (train_length // 2)


def test_a_real_model_is_scored_as_it_would_be_alone():
    model = tiny.model("lssar")
    tokens = np.random.default_rng(0).integers(0, 300, (2, 65))
    texts = [Text(str(index), row) for index, row in enumerate(tokens)]
    losses = score_texts(model.token_losses, texts, (16, 64), 16, device=CPU)
    rows = torch.from_numpy(tokens)
    whole = model.token_losses(rows[:, :-1], rows[:, 1:])
    part = model.token_losses(rows[:, 24:40], rows[:, 25:41])
    np.testing.assert_allclose(losses.by_length[64], whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(losses.restart[:, 32:40], part[:, 8:], rtol=1e-4, atol=1e-4)


# which texts


DOCUMENTS = [Document(str(n), tiny.prose(n, words)) for n, words in enumerate((40, 80, 160, 320))]
TOKENS = [len(encode(tiny.tokenizer(), document.text)) for document in DOCUMENTS]


def select(longest, count=None, seed=0, documents=DOCUMENTS):
    return select_texts(documents, tiny.tokenizer(), longest, count, seed)


@pytest.mark.parametrize("index", range(4))
def test_a_document_qualifies_with_one_token_more_than_the_longest_length(index):
    def names(longest):
        return sorted(document.name for document in select(longest).documents)

    assert sorted(TOKENS) == TOKENS
    assert names(TOKENS[index] - 1) == ["0", "1", "2", "3"][index:]
    if index < 3:
        assert names(TOKENS[index]) == ["0", "1", "2", "3"][index + 1 :]


@pytest.mark.parametrize("seed", range(8))
def test_a_text_is_a_stretch_of_one_document(seed):
    selection = select(50, seed=seed)
    assert (selection.files, selection.qualifying) == (4, sum(n > 50 for n in TOKENS))
    by_name = {d.name: encode(tiny.tokenizer(), d.text) for d in DOCUMENTS}
    for text, document in zip(selection.texts, selection.documents, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(by_name[text.name], 51)
        assert (windows == text.tokens).all(axis=1).any()
        assert text.name == document.name


def test_files_of_the_same_text_count_once():
    copies = [Document(f"copy {n}", DOCUMENTS[3].text) for n in range(3)]
    selection = select(50, documents=[*DOCUMENTS[2:], *copies])
    assert sorted(document.name for document in selection.documents) == ["2", "3"]
    assert (selection.files, selection.qualifying, selection.repeats) == (5, 2, 3)
    alone = select(50, documents=DOCUMENTS[2:])
    assert starts(selection) == starts(alone)
    assert alone.repeats == 0


def starts(selection):
    return [(text.name, *text.tokens.tolist()) for text in selection.texts]


def test_the_seed_decides_which_texts_and_where_in_them():
    documents = tiny.documents(12)
    drawn = [starts(select(50, 5, seed, documents)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {text[0] for text in drawn[0]} != {text[0] for text in drawn[2]}


def test_fewer_texts_are_the_first_of_more():
    documents = tiny.documents(12)
    assert starts(select(50, None, 0, documents))[:5] == starts(select(50, 5, 0, documents))


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (5, 5), (12, 12), (99, 12), (None, 12)])
def test_at_most_so_many_texts_are_drawn_and_none_twice(count, drawn):
    selection = select(50, count, 0, tiny.documents(12))
    assert (len(selection.texts), selection.qualifying) == (drawn, 12)
    assert len({text.name for text in selection.texts}) == drawn


def test_every_offset_that_fits_can_be_drawn():
    longest = TOKENS[0] - 3
    tokens = encode(tiny.tokenizer(), DOCUMENTS[0].text)
    found = {tuple(select(longest, 1, seed, DOCUMENTS[:1]).texts[0].tokens) for seed in range(40)}
    assert found == {tuple(tokens[start : start + longest + 1]) for start in range(3)}


def test_a_text_that_is_too_short_is_told_its_length_and_what_would_fit():
    with refused(UsageError, [f"0 has {TOKENS[0]:,} tokens", "8,193 are needed"]):
        select(8192, documents=DOCUMENTS[:1])
    fits = TOKENS[3] - 1
    with refused(UsageError, ["the longest of 4 has", f"{TOKENS[3]:,} tokens", f"--len {fits} or"]):
        select(8192)
    assert select(fits).qualifying == 1


def test_what_would_fit_is_a_length_that_can_be_asked_for():
    with refused(UsageError, [f"--len {(TOKENS[3] - 1) // 16 * 16} or less"]):
        select_texts(DOCUMENTS, tiny.tokenizer(), 8192, None, 0, step=16)
    with pytest.raises(UsageError, match=r"give a longer text$"):
        select_texts(DOCUMENTS, tiny.tokenizer(), 8192, None, 0, step=4096)


@pytest.mark.parametrize("seed", range(3))
def test_a_shorter_text_is_the_beginning_of_a_longer_one(seed):
    documents = [Document(str(n), tiny.prose(n, 250 + 40 * n)) for n in range(5)]
    tokens = [len(encode(tiny.tokenizer(), document.text)) for document in documents]
    assert min(tokens) < 1024 < max(tokens) < 2048
    texts = [select_prefix(documents, tiny.tokenizer(), length, seed) for length in (50, 512, 1024)]
    assert len({text.name for text in texts}) == 1
    for short, long in pairwise(texts):
        assert short.tokens.tolist() == long.tokens[: len(short.tokens)].tolist()
    (document,) = (each for each in documents if each.name == texts[0].name)
    assert texts[-1].tokens.tolist() == encode(tiny.tokenizer(), document.text)[:1024].tolist()


def test_the_seed_decides_which_document_is_read_and_a_longer_one_is_needed_for_more():
    documents = [Document(str(n), tiny.prose(n, 900)) for n in range(6)]
    drawn = [select_prefix(documents, tiny.tokenizer(), 60, seed).name for seed in range(12)]
    assert len(set(drawn)) > 2
    with refused(UsageError, ["the longest of 6", "9,999 are needed"]):
        select_prefix(documents, tiny.tokenizer(), 9999, 0)


# swapped context


class Reads:
    """Each loss is the token so many places back in the window, or 0 before its start."""

    def __init__(self, back):
        self.back = back

    def __call__(self, tokens, _targets, start=0):
        far = torch.nn.functional.pad(tokens.float(), (self.back, 0))[:, : tokens.shape[1]]
        return far[:, start:]


def swap(scorer, lengths=LENGTHS, texts=None):
    return swapped_losses(scorer, texts or counting_texts(), lengths, L, device=CPU)


@pytest.mark.parametrize("back", [0, 1, 4])
def test_a_model_that_reads_only_near_context_loses_nothing(back):
    changes = swap(Reads(back))
    assert sorted(changes) == [16, 32, 64]
    assert all(change.tolist() == [0, 0, 0] for change in changes.values())


def test_a_model_that_reads_far_context_is_found_out():
    """Eight back, all four scored targets of a window read the swapped text: 1000 per text."""
    for change in swap(Reads(8)).values():
        assert change.tolist() == [2000, -1000, -1000]


def test_the_share_of_targets_that_reach_far_context_is_what_counts():
    """Six back, two of the four targets read it."""
    for change in swap(Reads(6)).values():
        assert change.tolist() == [1000, -500, -500]


def test_swapping_in_the_same_text_changes_nothing():
    twins = [counting_texts(1)[0]] * 2
    assert all(change.tolist() == [0, 0] for change in swap(Reads(8), texts=twins).values())


def test_targets_are_of_the_text_itself():
    for change in swap(lambda _, targets, start=0: targets[:, start:].float()).values():
        assert change.tolist() == [0, 0, 0]


def test_one_text_has_no_other_to_swap_with():
    with refused(UsageError, ["--control swap has 1 text", "at least 2"]):
        swap(Reads(8), texts=counting_texts(1))


# the function of the Python surface


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(tiny.save(tmp_path_factory.mktemp("checkpoint") / "mine"))


def test_losses_of_a_checkpoint_are_means_over_windows(checkpoint):
    texts = [tiny.prose(1), tiny.prose(2)]
    table = loss_by_length(checkpoint, texts, [16, 64])
    assert table.shape == (2, 2)
    for row, text in zip(table, texts, strict=True):
        tokens = torch.from_numpy(encode(checkpoint.tokenizer, text)[:65])
        windows = tokens[:-1].view(4, 16), tokens[1:].view(4, 16)
        assert row[0] == pytest.approx(float(checkpoint.model.token_losses(*windows).mean()))
        whole = checkpoint.model.token_losses(tokens[None, :-1], tokens[None, 1:])
        assert row[1] == pytest.approx(float(whole.mean()))


def test_arrays_of_tokens_are_the_same_as_their_text(checkpoint):
    text = tiny.prose(1)
    tokens = encode(checkpoint.tokenizer, text)
    both = loss_by_length(checkpoint, [text, tokens], [16, 32])
    assert both[0].tolist() == both[1].tolist()


def test_any_function_from_tokens_to_logits_will_do(checkpoint):
    tokens = [encode(checkpoint.tokenizer, tiny.prose(seed)) for seed in (1, 2)]
    expected = loss_by_length(checkpoint, tokens, [16, 64])
    np.testing.assert_allclose(loss_by_length(checkpoint.model, tokens, [16, 64]), expected, 1e-5)
    uniform = loss_by_length(lambda t: torch.zeros(*t.shape, 7), [np.arange(33) % 7], [1, 8, 32])
    assert uniform[0].tolist() == pytest.approx([math.log(7)] * 3)


@pytest.mark.parametrize("lengths", [[16, 24], [3, 16]])
def test_lengths_that_do_not_divide_are_refused(checkpoint, lengths):
    with refused(UsageError, ["length", "does not divide the longest"]):
        loss_by_length(checkpoint, [tiny.prose(1)], lengths)


def test_a_short_text_is_named_with_what_is_needed(checkpoint):
    with refused(UsageError, ["texts[1] has", "the longest length needs 65"]):
        loss_by_length(checkpoint, [tiny.prose(1), "short"], [16, 64])
    assert loss_by_length(checkpoint, [np.arange(65)], [64]).shape == (1, 1)
    with refused(UsageError, ["texts[0] has 64 tokens", "needs 65"]):
        loss_by_length(checkpoint, [np.arange(64)], [64])


def test_a_plain_function_cannot_read_strings(checkpoint):
    with refused(UsageError, ["texts[0] is a string", "arrays of tokens"]):
        loss_by_length(checkpoint.model, ["words"], [16])


TEXT = [tiny.prose(1)]
IDS = np.arange(17)
MISUSED = {
    "a string for a list": ({"texts": tiny.prose(1)}, ["texts is a str", "a list, such as [text]"]),
    "no texts": ({"texts": []}, ["texts is empty"]),
    "a generator": ({"texts": iter(TEXT)}, ["texts is <list_iterator", "a list"]),
    "bytes": ({"texts": b"abc"}, ["texts is b'abc'", "a list"]),
    "one array": ({"texts": IDS}, ["texts[0] is", "a string or an array of whole token ids"]),
    "a text of bytes": ({"texts": [b"abc"]}, ["texts[0] is b'abc'", "a string or an array"]),
    "no text": ({"texts": [None]}, ["texts[0] is None"]),
    "half a character": ({"texts": ["a\ud800"]}, ["texts[0] is not text", "character 1"]),
    "no tokens": ({"texts": [[]]}, ["texts[0] has 0 tokens", "needs 17"]),
    "floats": ({"texts": [IDS / 1]}, ["texts[0] is float64", "whole token ids"]),
    "a tensor of floats": ({"texts": [torch.ones(17).bfloat16()]}, ["texts[0] is torch.bfloat16"]),
    "booleans": ({"texts": [IDS > 0]}, ["texts[0] is bool"]),
    "a table": ({"texts": [IDS[None]]}, ["texts[0] has shape (1, 17)", "(tokens,)"]),
    "ragged": ({"texts": [[[1], [1, 2]]]}, ["texts[0] is [[1], [1, 2]]"]),
    "no such token": ({"texts": [IDS + 284]}, ["texts[0] has tokens from 284 to 300", "0 to 299"]),
    "less than no token": ({"texts": [IDS - 1]}, ["texts[0] has tokens from -1 to 15", "0 to 299"]),
    "huge": ({"texts": [[2**63] * 17]}, ["texts[0] has tokens from 9223372036854775808"]),
    "one length": ({"lengths": 16}, ["lengths is 16", "a list, such as [512, 8192]"]),
    "no lengths": ({"lengths": []}, ["lengths is empty"]),
    "lengths as text": ({"lengths": "16"}, ["lengths is '16'", "a list"]),
    "lengths without order": ({"lengths": {8, 16}}, ["lengths is {", "a list"]),
    "a float": ({"lengths": [8, 16.0]}, ["lengths[1] is 16.0", "a whole number at least 1"]),
    "true": ({"lengths": [True, 16]}, ["lengths[0] is True", "a whole number"]),
    "zero": ({"lengths": [0, 16]}, ["lengths[0] is 0; it must be at least 1"]),
    "below zero": ({"lengths": [-16, 16]}, ["lengths[0] is -16"]),
    "a name": ({"model": "softmax"}, ["model is 'softmax'", "load_checkpoint", "a callable"]),
    "no model": ({"model": None}, ["model is None"]),
    "no device": ({"device": "nowhere"}, ["device is 'nowhere'", "use cpu"]),
    "a device as a number": ({"device": 0}, ["device is 0"]),
}


@pytest.mark.parametrize(("wrong", "words"), MISUSED.values(), ids=MISUSED.keys())
def test_a_wrong_argument_is_named_with_what_it_is(checkpoint, wrong, words):
    with refused(UsageError, words):
        loss_by_length(**{"model": checkpoint, "texts": TEXT, "lengths": [16]} | wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("is_callable", [False, True])
def test_a_gpu_that_is_not_there_is_named(checkpoint, is_callable):
    model = checkpoint.model if is_callable else checkpoint
    with refused(UsageError, ["device is 'cuda'", "use cpu"]):
        loss_by_length(model, [IDS], [16], device="cuda")


RETURNED = {
    "a tuple": (lambda t: (torch.zeros(*t.shape, 300), None), ["model returned a tuple", "logits"]),
    "nothing": (lambda _: None, ["model returned a NoneType", "(1, 16, vocabulary)"]),
    "tokens": (lambda t: t, ["model returned torch.int64 of shape (1, 16)"]),
    "one place": (lambda t: torch.zeros(len(t), 300), ["shape (1, 300)", "(1, 16, vocabulary)"]),
    "a place more": (lambda _: torch.zeros(1, 17, 300), ["shape (1, 17, 300)"]),
    "whole numbers": (lambda t: torch.zeros(*t.shape, 300).long(), ["torch.int64", "floating"]),
    "few tokens": (lambda t: torch.zeros(*t.shape, 16), ["logits of 16 tokens", "up to 16"]),
}


@pytest.mark.parametrize(("model", "words"), RETURNED.values(), ids=RETURNED.keys())
def test_a_callable_that_returns_no_logits_is_told_what_it_returned(model, words):
    with refused(UsageError, words):
        loss_by_length(model, [IDS], [16])


def test_a_token_below_0_is_not_left_out_of_a_loss():
    with refused(UsageError, ["texts[0] has tokens from -100 to 16", "0 or more"]):
        loss_by_length(lambda t: torch.zeros(*t.shape, 300), [np.where(IDS, IDS, -100)], [16])


@pytest.mark.parametrize(
    "tokens",
    [IDS.tolist(), tuple(IDS), IDS.astype(np.uint8), torch.from_numpy(IDS), torch.arange(17).int()],
    ids=lambda tokens: type(tokens).__name__,
)
def test_tokens_of_any_whole_type_are_the_same_text(checkpoint, tokens):
    expected = loss_by_length(checkpoint, [IDS], [16])
    assert loss_by_length(checkpoint, [tokens], range(16, 17)).tolist() == expected.tolist()
    assert loss_by_length(checkpoint, IDS[None], np.array([16])).tolist() == expected.tolist()


UNFIT = {
    "no texts": ({"texts": []}, ["texts is empty"]),
    "no lengths": ({"lengths": []}, ["lengths is empty"]),
    "other texts": ({"texts": counting_texts(2, 32)}, ["texts[0] has 33 tokens", "needs 65"]),
    "a length that does not divide": ({"lengths": [24, 64]}, ["length 24 does not divide"]),
    "a training length that does not": ({"train_length": 24}, ["train_length 24 does not divide"]),
    "none": ({"train_length": 0}, ["train_length is 0"]),
}


@pytest.mark.parametrize(("wrong", "words"), UNFIT.values(), ids=UNFIT.keys())
def test_texts_and_lengths_that_do_not_fit_are_not_scored(wrong, words):
    fitting = {"texts": counting_texts(), "lengths": LENGTHS, "train_length": L}
    with refused(UsageError, words):
        score_texts(Scorer(), **fitting | wrong, device=CPU)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seed": -1}, ["seed is -1"]),
        ({"seed": 2**64}, ["seed is 18446744073709551616", "0 to 18446744073709551615"]),
        ({"seed": 1.5}, ["seed is 1.5"]),
        ({"count": 0}, ["count is 0"]),
        ({"longest": -1}, ["longest is -1"]),
        ({"longest": 1e3}, ["longest is 1000.0"]),
    ],
)
def test_texts_are_drawn_with_numbers_that_can_be_drawn_with(wrong, words):
    with refused(UsageError, words):
        select(**{"longest": 50} | wrong)


def test_texts_and_lengths_that_do_not_fit_are_not_swapped():
    with refused(UsageError, ["length 24 does not divide the longest, 64"]):
        swap(Reads(8), lengths=(24, 64))


def test_a_longer_window_costs_more_for_each_token():
    costs = [scoring.pass_cost(64 // length, length) for length in LENGTHS]
    assert all(one < other for one, other in pairwise(costs))
