"""What stick-breaking's Triton kernels promise beside the battery."""

from dataclasses import fields
from importlib import import_module

import pytest
import torch
from described import dense_statistics
from fused_calls import fused_sticks, stick_statistics
from needs_triton import require_kernels
from strategies import Call, assert_within, far_apart

from freeatten_core.ops.definitions import staged

require_kernels()
import_module("freeatten_core.ops.backends.fused.stick_ops")
layout = import_module("freeatten_core.ops.backends.fused.layout")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("small_sticks", "quiet_numpy")


def test_keys_that_nothing_is_left_for_are_not_read():
    """Of 160 keys whose shares are 1 − e^−20 a row reads the nearest block or two."""
    query, key, value = (x.to(DEVICE) for x in Call(160, 160, 16, 16, 1, 1).tensors(torch.float32))
    query[:], key[:] = 5.0**0.5, 4.0
    key, value = (x.requires_grad_() for x in (key, value))
    output = fused_sticks(query, key, value, "stick-breaking")
    expected = staged.reference_attention(query, key, value, "stick-breaking")
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    found = stick_statistics(query, key, "stick-breaking")
    wanted = dense_statistics(query, key, "stick-breaking", {})
    for field in fields(found):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        assert_within(one, other, 1e-5 * other.abs().clamp(min=1))
    last = torch.zeros_like(output)
    last[:, :, -1] = 1
    grads = torch.autograd.grad(output, [key, value], last)
    assert (grads[1][:, :, -2] > 0.99).all()
    for grad in grads:
        assert (grad[:, :, :96] == 0).all()


@pytest.mark.parametrize("axis", ["head", "token"])
def test_offsets_beyond_two_billion_elements_are_reached(axis):
    head, token = (2**31 + 64, 16) if axis == "head" else (16, 2**27 + 16)
    call = Call(18, 18, 16, 16, 1)
    query, key, value = (x.to(DEVICE) for x in call.tensors(torch.float16))
    far = far_apart(key, head, token)
    near = fused_sticks(query, key, value, "stick-breaking")
    assert torch.equal(fused_sticks(query, far, value, "stick-breaking"), near)


def test_what_a_32_bit_offset_does_not_reach_is_copied():
    for stride, kept in ((layout.LARGEST_STRIDE - 1, True), (layout.LARGEST_STRIDE, False)):
        tensor = torch.empty_strided((1, 1, 2, 16), (0, 0, stride, 1), device="meta")
        assert (layout.readable(tensor) is tensor) == kept
        assert layout.readable(tensor).stride(-2) == (stride if kept else 16)
    assert 511 * (layout.LARGEST_STRIDE - 1) + 256 < 2**31
    assert layout.readable(torch.zeros(1, 1, 4, 8).mT).stride(-1) == 1
