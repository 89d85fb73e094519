"""Losses token by token, by scorers whose losses can be worked out by hand."""

import numpy as np
import pytest
import torch
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.measures.by_token import losses_by_token, token_cost

CPU = torch.device("cpu")


def context(tokens, _, start=0):
    """Each loss is how many tokens are seen."""
    seen = torch.arange(1, tokens.shape[1] + 1).expand(tokens.shape)
    return seen[:, start:].float()


@pytest.mark.parametrize("length", [2, 5, 9, 16, 17, 23, 24, 25, 40])
def test_a_restarted_token_has_half_a_training_length_of_context_at_least(length):
    costs = []
    tokens = torch.arange(length)
    found = losses_by_token(context, tokens, 8, device=CPU, advance=costs.append)
    assert found.loss.tolist() == list(range(1, length))
    assert (found.restart[:8] == found.loss[:8]).all()
    far = found.restart[8:]
    assert ((far > 4) & (far <= 8)).all()
    assert (found.delta == found.loss - found.restart).all()
    assert sum(costs) == pytest.approx(token_cost(length, 8))


def test_every_token_is_scored_as_what_follows_its_row():
    def target(_, targets, start=0):
        return targets[:, start:].float()

    tokens = torch.randint(0, 99, (30,), generator=torch.Generator().manual_seed(0))
    found = losses_by_token(target, tokens, 8, device=CPU)
    np.testing.assert_array_equal(found.loss, tokens[1:])
    np.testing.assert_array_equal(found.restart, tokens[1:])


def test_one_token_is_too_few():
    with refused(UsageError, ["(1,)", "2 or more"]):
        losses_by_token(context, torch.arange(1), 8, device=CPU)
