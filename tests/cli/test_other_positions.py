"""Checkpoints whose position or gate is an option of their name, in every command as any other."""

import pytest
import torch
from terminal import QUICK, freeatten

from freeatten_core import load_checkpoint
from freeatten_core.analysis import capture, head_table
from freeatten_core.data.documents import path_documents
from freeatten_core.data.selection import select_prefix

LENGTH = 96
HEAD = ("--layer", "0", "--head", "0")
NAMES = {"fox": "softmax:gate=forget:position=none", "pope": "softmax:position=pope"}


@pytest.fixture(scope="module", params=NAMES)
def folder(request, books, tmp_path_factory):
    """A checkpoint of a row by its short name, and what the name stands for."""
    out = tmp_path_factory.mktemp(request.param) / "model"
    done = freeatten("train", "--variant", request.param, "--text", books, "--out", out, *QUICK)
    assert done.code == 0, done.err
    return out, NAMES[request.param]


def result_of(command, folder, books, *words):
    where = ("--checkpoint", folder, "--text", books, "--len", str(LENGTH))
    done = freeatten(command, *where, *words, "--json")
    assert done.code == 0, done.err
    return done.result


def test_its_heads_are_those_of_its_capture(folder, books):
    path, name = folder
    checkpoint = load_checkpoint(path)
    drawn = select_prefix(path_documents(books), checkpoint.tokenizer, LENGTH, 0)
    seen = capture(checkpoint, torch.from_numpy(drawn.tokens))
    (entry,) = result_of("entropy", path, books)["variants"]
    assert entry["variant"] == name
    for head, wanted in zip(entry["heads"], head_table(seen), strict=True):
        assert head["relative_entropy"] == pytest.approx(
            wanted.values["relative_entropy"], abs=1e-5
        )


def test_rows_of_its_map_and_its_stages_sum_to_one(folder, books):
    path, name = folder
    shown = result_of("map", path, books, *HEAD, "--query", "60:64", "--key", "0:64")
    assert shown["variant"] == name
    assert [sum(row) for row in shown["weights"]] == pytest.approx([1.0] * 4, abs=1e-4)
    stages = result_of("stages", path, books, *HEAD, "--position", "40")
    assert sum(stages["weight"]) == pytest.approx(1.0, abs=1e-5)


def test_it_is_compared_and_asked_for_copies(folder, books):
    path, name = folder
    compared = freeatten(
        "compare", "--checkpoint", path, "--text", books, "--len", "2x", "--json"
    ).result
    (row,) = compared["variants"]
    assert (row["variant"], compared["lengths"]) == (name, [32, 64])
    assert all(0 < loss < 8 for loss in row["loss"])
    assert row["window_delta"] is not None
    words = ("--len", "64", "--block", "8", "--samples", "3", "--json")
    copied = freeatten("retrieve", "--checkpoint", path, "--text", books, *words)
    assert [each["variant"] for each in copied.result["variants"]] == [name]
