"""`compare` with models of others: what their rows say, and how they stand beside our own."""

from __future__ import annotations

import causal
import numpy as np
import pytest
import tiny
import torch

from freeatten_core import load_causal_model, load_checkpoint
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.lengths import default_restart, parse_declared_lengths
from freeatten_core.basics.progress import Watch
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.models.rows import CausalRow, Row, load_scored_rows

LENGTHS = (16, 32, 64)
DOCUMENTS = tiny.documents(6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    names = ("llama", "mamba", "gpt2")
    return {name: causal.save(root / name, causal.network(name)) for name in names}


@pytest.fixture(scope="module")
def rows(folders):
    return {name: CausalRow(load_causal_model(str(folder)), 32) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    checkpoint = load_checkpoint(tiny.save(tmp_path_factory.mktemp("own") / "m", tiny.model()))
    return Row(checkpoint.config.variant, checkpoint)


def compared(*rows, watch=None, **changes):
    given = {"lengths": LENGTHS, "documents": DOCUMENTS, "source": "my texts", "texts": 3}
    request = Request(rows=rows, command="freeatten compare", **(given | changes))
    return compare(request, watch)


def test_a_row_says_what_the_model_declares_and_never_what_it_was_trained_on(rows):
    result = compared(rows["llama"]).result
    for facts in (result, result["variants"][0]):
        assert (facts["restart_length"], facts["declared_length"]) == (32, causal.DECLARED)
        assert "train_length" not in facts
    assert result["variants"][0]["variant"] == rows["llama"].model.name


def test_losses_and_controls_are_those_of_their_definitions(rows):
    row, model = compared(rows["llama"]), rows["llama"].model
    entry = row.result["variants"][0]
    losses = row.losses[model.name]
    tokens = torch.from_numpy(np.stack(texts_of(rows["llama"])))
    read, targets = tokens[:, :-1], tokens[:, 1:]
    whole = model.token_losses(read, targets)
    np.testing.assert_allclose(losses.by_length[64], whole, atol=1e-5)
    assert entry["loss"][2] == pytest.approx(float(whole.mean()), abs=1e-5)
    assert entry["delta"][0] is None  # shorter than the restart
    assert entry["delta"][1] == 0
    late = losses.by_length[64][:, 32:]
    assert entry["delta"][2] == pytest.approx(
        float((late - losses.restart[:, 32:]).mean()), abs=1e-5
    )
    windowed = model.with_window(32).token_losses(read, targets)[:, 32:]
    assert entry["window_delta"] == pytest.approx(float((late - windowed.numpy()).mean()), abs=1e-5)
    assert abs(entry["window_delta"]) > 1e-4
    assert entry["sliding_delta"] is not None


def texts_of(row, longest=64, count=3):
    from freeatten_core.data.selection import select_texts

    drawn = select_texts(DOCUMENTS, row.tokenizer, longest, count, 0).texts
    return [text.tokens for text in drawn]


def test_bits_per_byte_are_over_the_bytes_of_the_targets(rows):
    entry = compared(rows["llama"]).result["variants"][0]
    tokenizer = rows["llama"].tokenizer
    scored = sum(
        len(tokenizer.decode(tokens[1:].tolist()).encode()) for tokens in texts_of(rows["llama"])
    )
    wanted = entry["loss"][2] * 3 * 64 / np.log(2) / scored
    assert entry["bits_per_byte"][2] == pytest.approx(wanted, rel=1e-5)


def test_a_model_that_bypasses_the_interface_has_s_and_no_w(rows):
    entry = compared(rows["mamba"]).result["variants"][0]
    assert entry["sliding_delta"] is not None
    assert entry["window_delta"] is None
    assert entry["declared_length"] is None


def test_models_of_others_stand_beside_our_own(rows, own):
    result = compared(own, rows["llama"]).result
    ours, theirs = result["variants"]
    assert ours["train_length"] == result["train_length"] == 16
    assert theirs["restart_length"] == 32
    assert result["tokenizers"] == 2
    assert ours == compared(own).result["variants"][0]
    assert theirs == compared(rows["llama"]).result["variants"][0]


def test_one_that_has_too_few_positions_is_a_row_without_numbers(rows):
    lengths = (32, 256)
    documents = tiny.documents(3, 2000)
    changes = {"lengths": lengths, "documents": documents, "texts": 1}
    llama, gpt2 = compared(rows["llama"], rows["gpt2"], **changes).result["variants"]
    assert llama["loss"][1] is not None
    assert gpt2["loss"] == [None, None]
    assert "has 128 positions and cannot read 256 tokens" in gpt2["error"]
    with pytest.raises(UsageError, match="128 positions"):
        compared(rows["gpt2"], **changes)


@pytest.mark.parametrize("changes", [{}, {"control": "swap"}, {"dtype": "bfloat16"}])
@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_progress_ends_where_it_was_announced(rows, name, changes):
    totals, done = [], []
    compared(rows[name], watch=Watch(total=totals.append, advance=done.append), **changes)
    assert sum(done) == pytest.approx(totals[0])


# Rows


def test_rows_are_of_whatever_was_named(folders, own):
    named = ["softmax", str(folders["llama"]), str(own.checkpoint.folder)]
    found = load_scored_rows([], named, lambda declared: declared // 4)
    assert [type(row) for row in found] == [Row, CausalRow, Row]
    assert found[1].restart_length == causal.DECLARED // 4


def test_modifiers_on_a_model_of_others_are_refused(folders):
    with pytest.raises(UsageError, match=r"such as \+yarn go with models of this project only"):
        load_scored_rows([], [f"{folders['llama']}+yarn"], lambda _: 16)


# Lengths


@pytest.mark.parametrize(
    ("text", "restarts", "declared", "limits", "wanted"),
    [
        (None, [2048], [4096], [None], [512, 1024, 2048, 4096, 8192]),
        (None, [1024], [1024], [1024], [512, 1024]),
        (None, [2048], [None], [None], [512, 1024, 2048, 4096]),
        (None, [32], [48], [None], [32, 64]),
        ("8192", [2048], [4096], [None], [512, 1024, 2048, 4096, 8192]),
        ("1000,4000", [500], [4096], [None], [500, 1000, 4000]),
    ],
)
def test_lengths_are_powers_of_two_unless_asked(text, restarts, declared, limits, wanted):
    assert parse_declared_lengths(text, restarts, declared, limits) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4x", "so × means nothing; give lengths in tokens"),
        ("3000", "2048 tokens do not divide the longest, 3000"),
        ("1000,8192", "1000 tokens do not divide the longest, 8192"),
        ("far", "'far' is not a length"),
    ],
)
def test_lengths_that_do_not_suit_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        parse_declared_lengths(text, [2048], [4096], [None])


@pytest.mark.parametrize(
    ("declared", "text", "wanted"),
    [
        (8192, None, 2048),
        (1000, None, 512),
        (None, None, 2048),
        (8192, "1024", 1024),
        (8192, "512,16384", 2048),
    ],
)
def test_the_restart_is_a_power_of_two_within_what_is_declared_and_asked(declared, text, wanted):
    assert default_restart(declared, text) == wanted
