"""A row against its own window: the same tokens, paired by text."""

import pytest

from freeatten_core import systems


def row(variant, checkpoint, *losses):
    return {"variant": variant, "checkpoint": checkpoint, "loss_by_text": list(losses)}


RESULT = {
    "train_length": 512,
    "lengths": [512, 1024],
    "variants": [
        row("softmax", "softmax", [2.0, 3.0], [3.0, 4.2]),
        row("softmax+window", "softmax", [2.0, 1.9], [3.0, 2.9]),
        row("softmax+rerope", "softmax", [2.0, 1.8], [3.0, 2.6]),
        row("softmax", "longer", [2.0, 1.0], [3.0, 1.0]),
        row("lssa", "lssa", [2.0, 1.0], [3.0, 1.0]),
    ],
}


def test_differences_are_paired_by_text_and_are_of_one_checkpoint():
    found = systems.against_window(RESULT)
    assert list(found) == ["softmax", "softmax+rerope"]
    mean, low, high = found["softmax+rerope"][1]
    # differences −0.1 and −0.3: deviation 0.1414, t(0.975; 1) = 12.7062, half 12.7062 · 0.1
    assert (mean, high - mean, mean - low) == pytest.approx((-0.2, 1.27062, 1.27062), rel=1e-5)


def test_the_table_begins_beyond_the_training_length():
    lines = systems.window_table(RESULT).splitlines()
    assert lines[0] == "| loss against its own window | 2× (1,024) |"
    assert lines[3] == "| `softmax+rerope` | −0.200 ±1.271 |"
