"""Calls that the fused kernels compute, whatever is chosen for calls of users."""

from importlib import import_module
from unittest.mock import patch

import torch
from torch.nn.functional import pad

from freeatten_core import attention, row_statistics
from freeatten_core.ops.backends import choice

OF_HOPPER = ("lssar:p=3", "lssar:p=15")


def on(name, compute):
    """An operator by a back-end of the table, whatever the device: Triton's run in their
    interpreter without a GPU."""

    def computed(*inputs, **options):
        with patch.object(choice, "chosen", lambda *_: choice.named(name)):
            return compute(*inputs, **options)

    return computed


fused, fused_statistics = (on("fused", each) for each in (attention, row_statistics))
fused_sticks, stick_statistics = (on("fused sticks", each) for each in (attention, row_statistics))


def has_hopper() -> bool:
    """Whether this GPU and this Triton can have the kernel for capability 9.0."""
    launch = import_module("freeatten_core.ops.backends.fused.hopper_launch")
    there = launch.triton.__version__.startswith("3.6.")
    return there and torch.cuda.get_device_capability() == launch.CAPABILITY


def by_hopper(query, key, value, variant, **options):
    """The kernel for capability 9.0, of calls that it takes once they are whole blocks: no row
    sees what is added to the end."""
    launch = import_module("freeatten_core.ops.backends.fused.hopper_launch")
    fast = import_module("freeatten_core.ops.backends.fused.fast_launch")
    length = query.shape[2]
    whole = [pad(x, (0, 0, 0, -length % launch.KEYS)) for x in (query, key, value)]
    with (
        patch.object(fast, "TOKENS", 1),
        patch.object(launch, "TOKENS", {64: 1, 128: 1}),
        patch.object(launch, "is_proven", lambda _: True),
        patch.object(launch, "compute_even", wraps=launch.compute_even) as started,
    ):
        output = fused(*whole, variant, **options)
    takes = key.shape[2] == length and query.shape[3] in launch.TOKENS
    assert started.called or not takes or variant not in OF_HOPPER
    return output[:, :, :length]
