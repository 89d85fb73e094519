"""`compare` with models of others: what their rows say, and how they stand beside our own."""

from __future__ import annotations

from dataclasses import replace

import causal
import numpy as np
import pytest
import tiny
import torch
from freeatten_cli.terminal.tables import declared_lines

from freeatten_core import load_causal_model, load_checkpoint
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.lengths import default_restart, parse_declared_lengths
from freeatten_core.basics.progress import Watch
from freeatten_core.data.aligned import Cut, select_aligned
from freeatten_core.data.selection import select_texts
from freeatten_core.data.tokenizer import token_bytes
from freeatten_core.figures.comparison import comparison_figure
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.models.codec import Codec
from freeatten_core.models.rows import CausalRow, Row, load_scored_rows
from freeatten_core.results.comparison import provenance
from freeatten_core.variants.variant import Variant

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


def test_a_row_says_how_its_weights_were_stored_where_they_are_no_longer_so(rows):
    assert "form" not in compared(rows["llama"]).result["variants"][0]
    form = "GGUF Q4_1, dequantised"
    row = CausalRow(replace(rows["llama"].model, form=form, name="tiny.gguf"), 32)
    result = compared(row).result
    assert result["variants"][0]["form"] == form
    assert f"weights are those of {form}: tiny.gguf" in declared_lines(result)
    assert f"weights of {form}: tiny.gguf" in provenance(result)
    drawn = comparison_figure(result).layout.title.subtitle.text
    assert f"{form}: tiny.gguf" in drawn.replace("<br>", " ")


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


def test_the_verdict_is_read_at_the_declared_length_and_at_the_longest(rows):
    """S and W at a length are over the last halves of its windows in the last half of the text."""
    model = rows["llama"].model
    row = CausalRow(replace(model, declared_length=32), 16)
    done = compared(row, lengths=(16, 32, 128), documents=tiny.documents(4, 2000))
    entry = done.result["variants"][0]
    found, losses = entry["at_declared"], done.losses[model.name]
    assert found["length"] == 32
    assert found["delta"] == entry["delta"][:2]
    tokens = torch.from_numpy(
        np.stack(
            [
                text.tokens
                for text in select_texts(tiny.documents(4, 2000), row.tokenizer, 128, 3, 0).texts
            ]
        )
    )
    windowed = model.with_window(16).token_losses(tokens[:, :-1], tokens[:, 1:]).numpy()
    late = [*range(80, 96), *range(112, 128)]
    difference = (losses.by_length[32] - windowed)[:, late]
    assert found["window_delta"] == pytest.approx(float(difference.mean()), abs=1e-5)
    assert found["window_delta"] != pytest.approx(entry["window_delta"], abs=1e-4)
    assert found["sliding_delta"] is not None
    assert found["verdict"] in {"harmless", "hurts", "uses", "no better", "worse", "unclear"}


@pytest.mark.parametrize("declared", [None, 16, 64, 100])
def test_there_is_one_verdict_where_a_row_was_not_read_beyond_what_it_declares(rows, declared):
    row = CausalRow(replace(rows["llama"].model, declared_length=declared), 16)
    assert "at_declared" not in compared(row).result["variants"][0]


def texts_of(row, longest=64, count=3):
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
    assert None not in ours["loss"] + theirs["loss"]


@pytest.fixture(scope="module")
def tokenizers(own, rows):
    return own.tokenizer, rows["llama"].tokenizer


@pytest.fixture(scope="module")
def aligned(tokenizers):
    cuts = [Cut(each, Codec(each, ()).ends) for each in tokenizers]
    return select_aligned(DOCUMENTS, cuts, 64, 3, 0)


def test_texts_of_several_tokenizers_begin_at_the_same_character(aligned, tokenizers):
    for mine, other, document in zip(
        aligned[0].texts, aligned[1].texts, aligned[0].documents, strict=True
    ):
        assert mine.name == other.name == document.name
        assert len(mine.tokens) == len(other.tokens) == 65
        spelled = [
            tokenizer.decode(text.tokens.tolist())
            for tokenizer, text in zip(tokenizers, (mine, other), strict=True)
        ]
        short, long = sorted(spelled, key=len)
        assert short != long
        assert long.startswith(short.rstrip("\ufffd"))
        assert short[:20] in document.text
    assert {text.name for text in aligned[0].texts} == {text.name for text in aligned[1].texts}


def test_what_counts_are_the_bytes_that_every_tokenizer_has(aligned, tokenizers):
    """Tokens counted spell the bytes said, and lie within what the shorter text has."""
    for pair in zip(aligned[0].texts, aligned[1].texts, strict=True):
        begins, ends = [], []
        for tokenizer, text in zip(tokenizers, pair, strict=True):
            first, stop = text.counted
            sizes = token_bytes(tokenizer)[text.tokens]
            assert text.bytes == sizes[first + 1 : stop + 1].sum()
            begins.append(sizes[: first + 1].sum())
            ends.append(sizes[: stop + 1].sum())
        whole = [
            token_bytes(tokenizer)[text.tokens].sum()
            for tokenizer, text in zip(tokenizers, pair, strict=True)
        ]
        longest_token = 32
        assert min(whole) - longest_token < min(ends) <= max(ends) <= min(whole)
        assert max(begins) < longest_token


def test_bits_per_byte_of_several_are_of_what_counts(rows, own, aligned):
    done = compared(own, rows["llama"])
    for entry, drawn, losses in zip(
        done.result["variants"], aligned, done.losses.values(), strict=True
    ):
        for column, length in enumerate(LENGTHS):
            table = losses.by_length[length]
            nats = sum(
                each[slice(*text.counted)].sum()
                for each, text in zip(table, drawn.texts, strict=True)
            )
            size = sum(text.bytes for text in drawn.texts)
            assert entry["bits_per_byte"][column] == pytest.approx(
                nats / np.log(2) / size, rel=1e-5
            )


def test_a_document_must_be_long_enough_for_every_tokenizer(tokenizers):
    cuts = [Cut(each, None) for each in tokenizers]
    coarse = min(len(each.encode(DOCUMENTS[0].text).ids) for each in tokenizers)
    with pytest.raises(UsageError, match=f"has {coarse:,} tokens and {coarse + 1:,} are needed"):
        select_aligned(DOCUMENTS[:1], cuts, coarse, 1, 0)
    drawn = select_aligned(DOCUMENTS[:1], cuts, coarse - 1, 1, 0)
    assert [len(each.texts[0].tokens) for each in drawn] == [coarse, coarse]
    assert drawn[0].texts[0].counted is None


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


def test_a_model_with_modifiers_is_a_row_of_its_own_loaded_once(folders):
    loaded = []

    def load(name):
        loaded.append(name)
        return load_causal_model(name)

    llama = str(folders["llama"])
    named = [llama, f"{llama}+yarn:ramp=dims", f"{llama}+window"]
    found = load_scored_rows([], named, lambda _: 16, load)
    assert [row.name for row in found] == named
    assert loaded == [llama]


@pytest.mark.parametrize(
    ("name", "modifier", "said"),
    [
        ("gpt2", "yarn", "yarn needs one plain rotary embedding, and it has none"),
        ("mamba", "window", "not every layer can be given a window"),
        ("mamba", "logn", "declares no length"),
        ("llama", "align", "align is fitted for models of this project only"),
        ("llama", "yam", "unknown modifier 'yam'"),
    ],
)
def test_modifiers_that_cannot_be_had_are_refused_with_the_reason(folders, name, modifier, said):
    with pytest.raises(UsageError, match=said):
        load_scored_rows([], [f"{folders[name]}+{modifier}"], lambda _: 16)


def test_rows_with_modifiers_share_w_and_a_window_is_its_own(rows):
    model = replace(rows["llama"].model, declared_length=32)
    of = {
        name: CausalRow(model, 16, Variant.parse(f"softmax{name}").modifiers)
        for name in ("", "+window", "+yarn")
    }
    totals, done = [], []
    watch = Watch(total=totals.append, advance=done.append)
    found = compared(*of.values(), watch=watch).result["variants"]
    assert sum(done) == pytest.approx(totals[0])
    plain, window, yarn = found
    assert window["window_delta"] == 0
    assert plain["loss_by_text"] != yarn["loss_by_text"]
    assert None not in (plain["window_delta"], yarn["window_delta"])
    assert plain["window_delta"] != yarn["window_delta"]


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
