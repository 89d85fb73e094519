"""What a GPU trains with where there is no fused kernel."""

import pytest
import tiny
import torch

from freeatten_core.training.gradients import compiled_attention

NAMES = (
    *("softmax", "fox", "stick-breaking:position=none"),
    *("softplus-r:p=3:gate=forget:position=rope@6-none", "asentmax"),
)


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_the_model_does(name):
    built = tiny.model(name, kv_heads=1)
    tokens = torch.arange(40)[None] * 7 % 300
    expected = built.hidden(tokens)
    built.attend = compiled_attention
    torch.testing.assert_close(built.hidden(tokens), expected, rtol=1e-3, atol=1e-3)
