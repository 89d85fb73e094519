"""The controls S and W, by scorers whose losses can be worked out by hand and by small models."""

import numpy as np
import pytest
import tiny
import torch
from test_evaluation import Scorer, counting_texts, places_of

from freeatten_core import Variant
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.controls import (
    sliding_cost,
    sliding_losses,
    window_variant,
    windowed_cost,
    windowed_losses,
)

CPU = torch.device("cpu")
L, M = 8, 64


def slid(train_length=L, longest=M, **options):
    texts = counting_texts(longest=longest)
    return sliding_losses(Scorer(), texts, train_length, device=CPU, **options)


def test_a_sliding_token_has_three_quarters_to_all_of_the_training_length_before_it():
    whole = np.concatenate([np.zeros((3, M // 2)), slid()], axis=1)
    places = places_of(whole)[:, M // 2 :]
    np.testing.assert_array_equal(places, np.tile(6 + np.arange(M // 2) % 2, (3, 1)))


@pytest.mark.parametrize(("train_length", "longest"), [(8, 16), (6, 24), (3, 9), (1, 4)])
def test_every_token_of_the_last_half_is_scored_once_and_whatever_the_length(train_length, longest):
    losses, texts = slid(train_length, longest), counting_texts(longest=longest)
    first = longest // 2
    targets = np.stack([text.tokens[1 + first :] for text in texts])
    places = losses - 100.0 * targets
    step = max(1, train_length // 4)
    assert losses.shape == (3, longest - first)
    assert places.min() >= train_length - step
    assert places.max() < train_length


@pytest.mark.parametrize(("train_length", "longest"), [(8, 64), (8, 16), (6, 24)])
def test_the_cost_announced_is_the_cost_reported(train_length, longest):
    costs = []
    slid(train_length, longest, advance=costs.append)
    assert sum(costs) == pytest.approx(sliding_cost(3, longest, train_length))
    costs.clear()
    texts = counting_texts(longest=longest)
    windowed_losses(Scorer(), texts, train_length, device=CPU, advance=costs.append)
    assert sum(costs) == pytest.approx(windowed_cost(3, longest, train_length))


@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15"])
def test_a_window_in_every_layer_is_a_mask_in_every_layer(variant):
    """Through two layers it reaches 30 tokens back, and not one further."""
    model = tiny.model(variant)
    windowed = model.with_modifiers(Variant.parse(f"{variant}+window"), 64)
    texts = select_texts(tiny.documents(3), tiny.tokenizer(), 64, 3, 0).texts
    losses = windowed_losses(windowed.token_losses, texts, 16, device=CPU)
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))

    def of_last(context):
        """The loss of the last target of all, read with so many tokens before it."""
        part = tokens[:, -1 - context :]
        return windowed.token_losses(part[:, :-1], part[:, 1:])[:, -1].numpy()

    np.testing.assert_allclose(losses[:, -1], of_last(64), atol=1e-5)
    if variant == "softmax":  # the scale log N would change with the tokens left out
        np.testing.assert_allclose(losses[:, -1], of_last(31), atol=1e-4)
        assert np.abs(losses[:, -1] - of_last(24)).max() > 1e-3


WINDOWS = {
    "softmax": "softmax+window",
    "softmax+yarn": "softmax+window",
    "lssar:p=15+rerope": "lssar:p=15+window",
    "softmax+align:by=entropy": "softmax+window",
    "softmax+swap:to=softmax-ls": "softmax+swap:to=softmax-ls+window",
    "softmax+swap:to=softmax-ls+yarn": "softmax+swap:to=softmax-ls+window",
    "softmax-ls+window": "softmax-ls+window",
}


@pytest.mark.parametrize(("variant", "expected"), WINDOWS.items())
def test_the_window_is_of_the_weights_and_the_attention_of_the_row(variant, expected):
    assert str(window_variant(Variant.parse(variant))) == expected


def test_a_function_of_ones_own_has_no_window():
    assert window_variant(Variant(function="near.py:near")) is None


def test_stick_breaking_has_no_window_of_its_own():
    """A window gives the row's own key what the keys beyond it took: W would prove nothing."""
    assert window_variant(Variant.parse("stick-breaking")) is None
