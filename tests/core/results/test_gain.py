"""Where a gain comes from: tables of what `tests/measure/gain.py` stores."""

import pytest

from freeatten_core.results.gain import gain_blocks


def sample(gain=0.04):
    tokens = {
        "near": {"share": 0.6, "gain": 0.01, "gain_by_text": [0.01], "of_gain": 0.15},
        "far": {"share": 0.1, "gain": 0.25, "gain_by_text": [0.25], "of_gain": 0.625},
        "new": {"share": 0.3, "gain": 0.03, "gain_by_text": [0.03], "of_gain": 0.225},
    }
    heads = [
        {"layer": layer, "head": head, "far": 0.1 * layer, "place": 0.01 * (3 * layer + head)}
        for layer in range(2)
        for head in range(3)
    ]
    row = {"variant": "stick-breaking", "checkpoint": "stick-breaking", "train_length": 512}
    return {
        "kind": "gain",
        "train_length": 512,
        "length": 8192,
        "texts": 6,
        "dtype": "float32",
        "text": {"source": "stdlib"},
        "device": "cpu",
        "versions": {"torch": "2.11.0", "python": "3.12.3"},
        "date": "2026-11-27",
        "commit": None,
        "command": "python tests/measure/gain.py --json gain.json",
        "variants": [row | {"gain": gain, "tokens": tokens, "rows": 384, "heads": heads}],
    }


def test_a_gain_is_told_by_where_the_same_two_tokens_last_stood():
    lines = gain_blocks("inside/gain", sample())["inside/gain tokens"].splitlines()
    assert lines[0].startswith("| gain, nats a token | all | within 512 | only farther back |")
    assert lines[2] == "| % of the tokens | 100 | 60.0 | 10.0 | 30.0 |  |"
    assert lines[3] == "| `stick-breaking` | +0.040 | +0.010 | +0.250 | +0.030 | 62.5 |"


def test_shares_of_a_loss_are_not_told_as_shares_of_a_gain():
    lines = gain_blocks("inside/gain", sample(gain=-0.2))["inside/gain tokens"].splitlines()
    assert lines[3].startswith("| `stick-breaking` | −0.200 |")
    assert lines[3].endswith(" | – |")


def test_the_heads_that_read_the_place_most_are_named_first():
    found = gain_blocks("inside/gain", sample())
    line = found["inside/gain heads"].splitlines()[2]
    assert line == "| `stick-breaking` | 0.050 | 1.2: 0.050 | 1.1: 0.040 | 1.0: 0.030 |"
    said = found["inside/gain provenance"]
    assert said.startswith("6 texts of Python's standard library, the last 4,096 of 8,192 tokens")
    assert "heads over 384 tokens" in said


@pytest.mark.parametrize("block", ["tokens", "heads", "provenance"])
def test_every_block_has_the_name_of_its_result(block):
    assert gain_blocks("inside/gain", sample())[f"inside/gain {block}"]
