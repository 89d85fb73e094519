"""What a GPU trains: a compiled loss, and what it has where there is no fused kernel."""

import pytest
import tiny
import torch

from freeatten_core.training.gradients import compiled_attention
from freeatten_core.variants.setting import SHORT_NAMES

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


@pytest.mark.parametrize(
    "name",
    [
        name if name == "pope" else pytest.param(name, marks=pytest.mark.slow)  # compiled anew each
        for name in SHORT_NAMES
    ],
)
def test_a_compiled_loss_has_the_gradients_of_the_model(name):
    torch.compiler.reset()
    built = tiny.model(name, layers=1).requires_grad_(True)
    tokens = torch.arange(2 * 20).reshape(2, 20) * 7 % 300

    def loss(tokens, places):
        with torch.autocast("cpu", torch.bfloat16):
            logits = built.logits(built.hidden(tokens, places=places))
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten()
        )

    weights = list(built.parameters())
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for one, other in zip(
        *(
            torch.autograd.grad(each(tokens, built.places(20, tokens.device)), weights)
            for each in (compiled, loss)
        ),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-3)
