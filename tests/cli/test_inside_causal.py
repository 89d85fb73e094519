"""`freeatten map`, `entropy` and `stages` of models of the transformers library."""

from __future__ import annotations

import json

import causal
import pytest
import torch
from terminal import freeatten, refusal

from freeatten_core import load_causal_model
from freeatten_core.analysis import capture, head_table
from freeatten_core.data.documents import path_documents
from freeatten_core.data.selection import select_prefix
from freeatten_core.ops.operator import attention_weights

LENGTH = 64


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    names = ("llama", "gpt2", "mistral", "bloom")
    return {name: causal.save(root / name, causal.network(name)) for name in names}


@pytest.fixture(scope="session")
def seen(folders, books):
    """The capture that `map` and `entropy` make of the same text."""

    def captured(name):
        model = load_causal_model(str(folders[name]))
        documents, tokenizer = path_documents(books), model.codec.tokenizer
        drawn = select_prefix(documents, tokenizer, LENGTH, 0)
        return capture(model, torch.from_numpy(drawn.tokens))

    return {name: captured(name) for name in ("llama", "gpt2", "mistral")}


def inside(command, folder, books, *words):
    done = freeatten(command, "--checkpoint", folder, "--text", books, "--len", str(LENGTH), *words)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
def test_a_map_holds_the_weights_of_the_layer(name, folders, books, seen):
    words = ("--layer", "1", "--head", "2", "--query", "30:60", "--key", "5:35", "--json")
    result = inside("map", folders[name], books, *words).result
    kept = seen[name].layers[1]
    options = kept.options | {"rows": slice(30, 60), "cols": slice(5, 35)}
    wanted = attention_weights(kept.query[None], kept.key[None], "softmax", **options)[0, 2]
    assert result["variant"] == str(folders[name])
    assert torch.allclose(torch.tensor(result["weights"]), wanted, atol=1e-4, rtol=1e-3)


def test_a_map_is_drawn_and_saved_by_the_models_name(folders, books, tmp_path):
    page, picture = tmp_path / "map.html", tmp_path / "map.svg"
    done = inside("map", folders["gpt2"], books, "--html", page)
    assert f"{folders['gpt2']}, layer 1, head 0: queries 0–63" in done.out.replace("\n", "")
    assert str(folders["gpt2"]) in page.read_text()
    assert "trained up to here" not in done.out
    assert not picture.exists()


def test_entropy_is_of_one_layer_unless_all_are_asked_for(folders, books, seen):
    one = inside("entropy", folders["llama"], books, "--json")
    entry = one.result["variants"][0]
    assert {head["layer"] for head in entry["heads"]} == {1}
    assert (entry["restart_length"], entry["declared_length"]) == (128, 128)
    assert "train_length" not in entry
    every = inside("entropy", folders["llama"], books, "--layers", "all", "--json")
    heads = every.result["variants"][0]["heads"]
    for head, wanted in zip(heads, head_table(seen["llama"]), strict=True):
        assert (head["layer"], head["head"]) == (wanted.layer, wanted.head)
        for name in ("entropy", "first", "mean_distance"):
            assert head[name] == pytest.approx(wanted.values[name], abs=1e-3)
    assert f"a text of {LENGTH} tokens needs 0.1 GB and about" in " ".join(every.err.split())


def test_relative_entropy_is_of_the_keys_that_a_window_leaves(folders, books, seen):
    entry = inside("entropy", folders["mistral"], books, "--json").result["variants"][0]
    rows = seen["mistral"].layers[1].rows
    count = torch.arange(1, LENGTH + 1).clamp(max=causal.WINDOW)
    wanted = (rows.entropy / count.log())[:, 1:].mean(-1)
    found = torch.tensor([head["relative_entropy"] for head in entry["heads"]])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_entropy_prints_and_draws_what_it_measured(folders, books, tmp_path):
    words = ("--layers", "0,1", "--sinks", "--by", "length", "--html", tmp_path / "page.html")
    done = inside("entropy", folders["llama"], books, *words)
    assert str(folders["llama"]) in done.out.replace("\n", "")
    assert "trained up to" not in (tmp_path / "page.html").read_text()


def test_stages_of_a_row_are_of_the_keys_it_sees(folders, books):
    result = inside("stages", folders["mistral"], books, "--position", "40", "--json").result
    assert result["visible"] == causal.WINDOW
    assert result["key"] == list(range(40 - causal.WINDOW + 1, 41))
    assert sum(result["weight"]) == pytest.approx(1, abs=1e-6)
    assert result["checkpoint"] == str(folders["mistral"])


def test_a_model_with_a_modifier_is_seen_with_it(folders, books):
    folder = folders["llama"]
    words = ("--text", books, "--len", str(LENGTH), "--json")
    row = freeatten("stages", "--checkpoint", f"{folder}+swap:to=relu", *words).result
    assert row["weight"] == pytest.approx([max(0, each) / LENGTH for each in row["score"]])
    made = freeatten("map", "--checkpoint", f"{folder}+pi", *words).result
    assert made["variant"] == f"{folder}+pi"
    said = refusal(2, "entropy", "--checkpoint", f"{folders['gpt2']}+pi", *words)
    assert "pi needs one plain rotary embedding, and it has none" in said
    copied = freeatten(
        "retrieve",
        "--checkpoint",
        f"{folder}+logn",
        *words[:2],
        "--json",
        "--len",
        "256",
        "--samples",
        "1",
    ).result
    assert copied["variants"][0]["variant"] == f"{folder}+logn"


def test_without_len_a_text_is_of_what_is_declared(folders, books):
    done = freeatten("map", "--checkpoint", folders["llama"], "--text", books, "--json")
    assert json.loads(done.out)["length"] == causal.DECLARED


@pytest.mark.parametrize("command", ["map", "entropy", "stages"])
def test_an_architecture_that_keeps_its_attention_is_refused(command, folders, books):
    said = refusal(1, command, "--checkpoint", folders["bloom"], "--text", books, "--len", "64")
    assert (
        "its layers cannot be looked into; freeatten compare and freeatten retrieve measure it"
        in said
    )


@pytest.mark.parametrize(
    "words", [("map", "--html"), ("entropy", "--statistic", "entropy", "--html")]
)
@pytest.mark.parametrize("first", ["bloom", "llama"])
def test_beside_others_it_is_marked_and_they_stand(words, first, folders, books, tmp_path):
    names = (first, *{"bloom", "llama"} - {first})
    given = [word for name in names for word in ("--checkpoint", folders[name])]
    page = tmp_path / "x.html"
    done = freeatten(*words, page, *given, "--text", books, "--len", "64")
    assert done.code == 1
    assert "its layers cannot be looked into" in done.sentence
    assert done.sentence in done.out
    assert folders["llama"].name in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("map", "--len", "4x"), "so × means nothing; give lengths in tokens"),
        (("map", "--layer", "2"), "layer is 2; it must be from 0 to 1"),
        (("map", "--head", "9"), "head is 9; it must be from 0 to 3"),
        (("entropy", "--layers", "some"), "--layers is 'some'; write all, or numbers"),
        (("entropy", "--layers", "0", "--layer", "1", "--head", "0"), "not among --layers 0"),
        (("entropy", "--layer", "1", "--head", "9"), "has attention in layers 0 to 1 and heads"),
    ],
)
def test_what_a_model_does_not_have_is_refused(folders, books, words, said):
    command, *rest = words
    given = ("--checkpoint", folders["llama"], "--text", books)
    lengths = () if "--len" in rest else ("--len", "64")
    assert said in refusal(2, command, *given, *lengths, *rest)


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_copying_is_the_difference_of_two_passes_of_the_model(name, folders, books):
    words = ("--text", books, "--len", "48,64", "--block", "16", "--samples", "2", "--json")
    result = freeatten("retrieve", "--checkpoint", folders[name], *words).result
    entry = result["variants"][0]
    assert (result["lengths"], entry["variant"]) == ([48, 64], str(folders[name]))
    assert "train_length" not in entry
    for at, gain in enumerate(entry["gain"]):
        assert gain == pytest.approx(entry["control"][at] - entry["loss"][at], abs=1e-4)
        assert entry["loss"][at] > 1


def test_without_len_copying_goes_up_to_what_is_declared(folders, books):
    words = ("--text", books, "--samples", "1", "--json")
    result = freeatten("retrieve", "--checkpoint", folders["llama"], *words).result
    assert result["lengths"] == [64, causal.DECLARED]
    assert "so × means nothing" in refusal(
        2, "retrieve", "--checkpoint", folders["llama"], "--text", books, "--len", "4x"
    )
