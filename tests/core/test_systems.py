"""A row against its own window: the same tokens, paired by text."""

import pytest

from freeatten_core import systems

RESULT = {
    "train_length": 512,
    "lengths": [512, 1024],
    "variants": [
        {"variant": "softmax", "loss_by_text": [[2.0, 3.0], [3.0, 4.2]]},
        {"variant": "softmax+window", "loss_by_text": [[2.0, 1.9], [3.0, 2.9]]},
        {"variant": "softmax+rerope", "loss_by_text": [[2.0, 1.8], [3.0, 2.6]]},
        {"variant": "lssa", "loss_by_text": [[2.0, 1.0], [3.0, 1.0]]},
    ],
}


def test_differences_are_paired_by_text():
    found = systems.against_window(RESULT)
    assert list(found) == ["softmax", "softmax+rerope"]
    mean, low, high = found["softmax+rerope"][1]
    # differences −0.1 and −0.3: deviation 0.1414, t(0.975; 1) = 12.7062, half 12.7062 · 0.1
    assert (mean, high - mean, mean - low) == pytest.approx((-0.2, 1.27062, 1.27062), rel=1e-5)


def test_the_table_begins_beyond_the_training_length():
    lines = systems.window_table(RESULT).splitlines()
    assert lines[0] == "| loss against its own window | 2× (1,024) |"
    assert lines[3] == "| `softmax+rerope` | −0.200 ±1.271 |"
