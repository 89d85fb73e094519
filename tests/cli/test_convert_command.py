"""`freeatten convert`: what it writes is measured as what was converted."""

import json

import pytest
from terminal import freeatten


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "llama"
    return out, freeatten("convert", "softmax", "--out", out)


def test_the_table_of_the_converted_is_that_of_the_shipped(converted, tmp_path):
    folder, done = converted
    assert (done.code, done.err) == (0, "")
    assert "softmax, for AutoModelForCausalLM" in done.out
    text = tmp_path / "text.py"
    text.write_text(
        "".join(f"def number_{n}(value):\n    return value + {n}\n" for n in range(200))
    )
    words = ("--text", text, "--texts", "1", "--len", "512,1024", "--json")
    (shipped,), (there,) = (
        freeatten("compare", *row, *words).result["variants"]
        for row in (("--variants", "softmax"), ("--checkpoint", folder, "--restart", "512"))
    )
    for key in ("loss", "delta"):
        assert there[key] == pytest.approx(shipped[key], abs=1e-4), key


def test_a_place_that_is_taken_and_a_name_that_is_not_there_are_told(converted, tmp_path):
    folder, _ = converted
    again = freeatten("convert", "softmax", "--out", folder, "--quiet")
    assert again.code == 1
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    unknown = freeatten("convert", "sofmax", "--out", tmp_path / "none")
    assert unknown.code == 2
    assert not (tmp_path / "none").exists()
