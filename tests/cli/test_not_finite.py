"""A value that is not finite, in any command, is named with its place, and the other rows stand."""

import shutil

import pytest
from safetensors.torch import load_file, save_file
from terminal import freeatten

TEXT = ("--len", "2x", "--texts", "2")
LOSS = "not finite: the loss at 64 tokens, target "
ROWS = {
    "compare": (("compare", *TEXT), "losses, the first at 32 tokens: target 1 of the text from "),
    "retrieve": (("retrieve", "--len", "64", "--samples", "2"), "the loss at 16 tokens, target "),
    "field": (("field", *TEXT), "not finite: the gradient of the last loss at 64 tokens"),
    "longppl": (("longppl", "--len", "64", "--truncate", "16"), LOSS),
    "ablate": (("ablate", *TEXT, "--no-heads"), LOSS),
    "entropy": (("entropy", "--len", "2x"), "the largest weight of layer 0, head 0, position 0"),
    "loss": (("entropy", "--statistic", "loss", "--len", "65"), LOSS),
}
"""By what is measured: the call, and what is said."""


@pytest.fixture
def overflowing(trained, tmp_path):
    """A checkpoint whose weights are finite, and whose scores are not."""
    folder = shutil.copytree(trained["softmax"], tmp_path / "overflowing")
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "query" in name or "key" in name:
            weights[name] = weight * 1e30
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("measured", ROWS)
def test_a_row_that_is_not_finite_is_named_and_the_others_stand(
    measured, overflowing, model, books, tmp_path
):
    words, says = ROWS[measured]
    judge = ("--evaluator", model) if measured == "longppl" else ()
    call = (*words, *judge, "--text", books, "--checkpoint", model)
    alone = freeatten(*call, "--json").result
    drawn = ("--csv", tmp_path / "x.csv", "--html", tmp_path / "x.html")
    done = freeatten(*call, "--checkpoint", overflowing, *drawn, "--json")
    assert done.code == 1
    assert done.sentence.startswith("softmax: ")
    assert says in done.sentence
    assert done.result["variants"][:1] == alone["variants"]
    shown = freeatten(*call, "--checkpoint", overflowing)
    assert (shown.code, done.sentence in shown.out) == (1, True)


@pytest.mark.parametrize("command", ["map", "stages"])
def test_what_is_looked_into_names_the_place(command, overflowing, books):
    done = freeatten(command, "--checkpoint", overflowing, "--text", books, "--len", "2x")
    assert (done.code, done.out) == (1, "")
    assert done.sentence == "not finite: the largest weight of layer 0, head 0, position 0"


def test_a_map_that_fails_is_named_and_the_others_stand(overflowing, model, books, tmp_path):
    page = tmp_path / "x.html"
    words = ("map", "--text", books, "--len", "2x", "--html", page)
    broken, sound = ("--checkpoint", overflowing), ("--checkpoint", model)
    reason = "softmax: failed: not finite: the largest weight of layer 0, head 0, position 0"
    for given in (broken + sound, sound + broken):
        done = freeatten(*words, *given)
        assert (done.code, done.sentence) == (1, reason)
        assert reason in done.out
        assert "strongest for" in done.out
        html = page.read_text(encoding="utf-8")
        assert reason in html
        assert "<title>lssar:p=15: layer 0, head 0" in html
        page.unlink()
    done = freeatten(*words, *broken, *broken)
    assert (done.code, done.out, page.exists()) == (1, "", False)


def test_key_tokens_are_of_an_evaluator_whose_losses_are_finite(overflowing, model, books):
    words = ("--len", "64", "--truncate", "16", "--text", books, "--checkpoint", model)
    done = freeatten("longppl", "--evaluator", overflowing, *words)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("the evaluator: not finite: the loss at 64 tokens, target 1 ")
