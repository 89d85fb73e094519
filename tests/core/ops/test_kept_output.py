"""What the backward keeps of an output, which is the caller's to change."""

import pytest
import torch
from battery import DEVICE, FAMILIES
from strategies import Call
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from freeatten_core import attention
from freeatten_core.ops import registered

CALL = Call(9, 13, 16, 8, heads=4, groups=2)
each_family = pytest.mark.parametrize("variant", FAMILIES)


@pytest.fixture
def inputs():
    return [x.to(DEVICE).requires_grad_() for x in CALL.tensors(torch.float32)]


@pytest.fixture
def computed(monkeypatch):
    """How often the operator computed an output."""
    times, forward = [], registered.attention_forward

    def attention_forward(*given):
        times.append(1)
        return forward(*given)

    monkeypatch.setattr(registered, "attention_forward", attention_forward)
    return times


def gradients(output, inputs):
    draw = torch.Generator().manual_seed(1)
    mixture = torch.randn(output.shape, generator=draw).to(output)
    return torch.autograd.grad(output, inputs, mixture)


@each_family
def test_it_is_the_output_itself_and_computed_again_only_after_a_change(variant, inputs, computed):
    output, changed = (attention(*inputs, variant, **CALL.options) for _ in range(2))
    kept = [x.data_ptr() for x in output.grad_fn.saved_tensors if x is not None]
    assert output.data_ptr() in kept
    changed.detach().zero_()
    of_output = gradients(output, inputs)
    assert len(computed) == 2
    of_changed = gradients(changed, inputs)
    assert len(computed) == 3
    assert all(map(torch.equal, of_output, of_changed))


@each_family
def test_a_block_that_changes_its_output_can_be_computed_again(variant, inputs):
    def block(*tensors):
        return attention(*tensors, variant, **CALL.options).mul_(3)

    again = gradients(checkpoint(block, *inputs, use_reentrant=False), inputs)
    once = gradients(attention(*inputs, variant, **CALL.options) * 3, inputs)
    assert all(map(torch.equal, again, once))


def test_where_others_follow_operators_it_is_a_copy(inputs):
    with FlopCounterMode(display=False):
        output = attention(*inputs, "lssar:p=3", **CALL.options)
    kept = [x.data_ptr() for x in output.grad_fn.saved_tensors if x is not None]
    assert output.data_ptr() not in kept
    output.detach().zero_()
    wanted = gradients(attention(*inputs, "lssar:p=3", **CALL.options), inputs)
    assert all(map(torch.equal, gradients(output, inputs), wanted))
