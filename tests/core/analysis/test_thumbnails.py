from itertools import pairwise

import numpy as np
import pytest
import torch
from captures import checkpoint, dense_layer, learned_capture, random_capture, text
from strategies import VARIANTS, refused

from freeatten_core import analysis
from freeatten_core.analysis import AttentionMap, thumbnails
from freeatten_core.basics.errors import UsageError


def largest(weights, edges, rows):
    """The largest weight of every cell among its last rows, from the dense matrix."""
    pairs = list(pairwise(edges))
    parts = [
        [weights[:, max(top, stop - rows) : stop, low:high].amax((1, 2)) for low, high in pairs]
        for top, stop in pairs
    ]
    return torch.stack([torch.stack(row, -1) for row in parts], 1)


@pytest.mark.parametrize("made", [random_capture, learned_capture])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_hold_the_largest_weight_of_their_last_rows(variant, made):
    capture = made(variant)
    found = thumbnails(capture, side=8, rows=2)
    edges = list(range(0, 41, 5))
    for layer, codes in found.codes.items():
        expected = largest(dense_layer(capture, layer).weights[0], edges, rows=2)
        steps = codes.astype(int) - found.scale.encode(expected).numpy()
        assert codes.shape == (4, 8, 8)
        assert np.abs(steps).max() <= 1
    assert (found.side, found.rows) == (8, 2)


def test_with_all_rows_they_are_the_pooled_map():
    capture = random_capture("lssar:p=15")
    expected = largest(dense_layer(capture, 0).weights[0], [0, 13, 26, 40], rows=40)
    found = thumbnails(capture, side=3, rows=40)
    assert np.abs(found.codes[0].astype(int) - found.scale.encode(expected).numpy()).max() <= 1
    assert found.rows == 14


def test_a_short_text_has_a_cell_a_token():
    found = thumbnails(random_capture("softmax"), side=64)
    assert (found.side, found.rows) == (40, 1)
    assert (np.triu(found.codes[0], 1) == 0).all()  # no later key is seen


@pytest.mark.parametrize(
    ("given", "words"), [({"side": 0}, ["side is 0"]), ({"rows": 0}, ["rows is 0"])]
)
def test_a_picture_of_nothing_is_refused(given, words):
    with refused(UsageError, words):
        thumbnails(random_capture("softmax"), **given)


@pytest.mark.parametrize(
    "variant",
    [
        "fox",
        "softmax-ls:position=alibi/none",
        "softmax:scale=log-n",
        "softmax:heads=difference",
        "softmax:position=rope@8-none",
        "regulargpt:dilate=4/own",
    ],
)
def test_cells_of_a_trained_model_hold_its_own_weights(variant):
    """Gates, biases, scales, windows and keys apart take part, as in any region of its maps."""
    capture = analysis.capture(checkpoint(variant), text(40))
    found = thumbnails(capture, side=8, rows=2)
    for layer, codes in found.codes.items():
        heads = [AttentionMap.of(capture, layer, head) for head in range(capture.heads)]
        weights = torch.stack([each.weights(0, 40, 0, 40) for each in heads])
        expected = largest(weights, list(range(0, 41, 5)), rows=2)
        assert np.abs(codes.astype(int) - found.scale.encode(expected).numpy()).max() <= 1
