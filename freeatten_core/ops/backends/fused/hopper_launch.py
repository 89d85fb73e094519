"""Which calls of `fast_launch` have the kernel of `hopper_forward`, and its launch."""

from __future__ import annotations

import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor

from .launch import Call

__all__ = ["ROWS", "compute_even", "is_proven", "matrix_of", "state", "takes"]

PROVEN: tuple[str, ...] = ("3.6.",)
"""Triton's minor versions, as "3.6.", of which Gluon is an experimental part, with which the tests
of this kernel passed on a GPU; with every other Triton's kernel computes."""

CAPABILITY = (9, 0)

TOKENS = {64: 8192, 128: 4096}
"""By the width of heads, which are not padded: from so many queries and keys on. At 8,192 tokens it
takes 1.13 instead of 1.18 ms with heads of 64, 1.70 instead of 1.99 with heads of 128; at 4,096
0.705 instead of 0.678 and 1.12 instead of 1.21 (H200, p = 15)."""

ROWS, KEYS = 64, 128
"""Of a group of warps, and of a tile; a block is two groups."""

SLOTS = {64: (4, 3), 128: (3, 2)}
"""Tiles of keys and of values in shared memory, by the width of heads."""

REGISTERS = {"FEW_REGISTERS": 24, "REGISTERS": 240}
"""Of a thread that brings tiles, and of one that computes."""

ALIGNED = 16
"""Bytes, to which what is read by tiles is aligned, and a step from one row to the next."""


@lru_cache
def is_proven(device: int) -> bool:
    """Whether a GPU and this version of Triton are those that the kernel was tested with."""
    if device < 0 or torch.version.cuda is None or not triton.__version__.startswith(PROVEN):
        return False
    return _capability(device) == CAPABILITY


def state(device: int) -> str:
    """Which calls have it, in words; if none, what it needs and what is there."""
    if is_proven(device):
        least = " and ".join(f"{n:,} with heads of {dim}" for dim, n in TOKENS.items())
        return f"on (causal LSSAR in bfloat16 from {least})"
    if device < 0 or torch.version.cuda is None:
        return "off (needs an NVIDIA GPU)"
    versions = ", ".join(name.rstrip(".") for name in PROVEN)
    needed, found = (".".join(map(str, x)) for x in (CAPABILITY, _capability(device)))
    return (
        f"off (tested with Triton {versions} on capability {needed}; "
        f"here {triton.__version__} and {found})"
    )


def _capability(device: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def takes(call: Call) -> bool:
    """Whether a call of `fast_launch` is causal, of as many queries as keys, in whole blocks."""
    problem = call.problem
    return (
        problem.is_causal
        and problem.query_length == problem.key_length
        and problem.key_length % KEYS == 0
        and call.dim == call.value_dim
        and problem.key_length >= TOKENS.get(call.dim, math.inf)
        and is_proven(call.query.get_device())
    )


def compute_even(
    call: Call, units: Tensor, output: Tensor, scalars: Tensor, flags: Tensor, together: int
) -> None:
    """Write output and scalars of most blocks of rows, and flag those that are left to others.

    Args:
        units: k/‖k‖, as of `Call.compute_norms`.
        flags: bytes (B·H, blocks of ROWS): 1 is for the exact kernel, UNEVEN for `uneven_kernel`.
        together: heads that run at a time.
    """
    kernels, descriptor, layouts = _gluon(call.dim)
    matrix, batch, head, column = matrix_of(call)
    blocks = call.pairs * (call.problem.query_length // KEYS)
    slots = SLOTS[call.dim]
    kernels.hopper_forward_kernel[(blocks,)](
        descriptor.from_tensor(units.view(-1, call.dim), [KEYS, call.dim], layouts[0]),
        descriptor.from_tensor(matrix, [KEYS, call.dim], layouts[1]),
        call.query,
        output,
        scalars,
        flags,
        *call.query.stride()[:3],
        batch,
        head,
        column,
        *call.sizes[:4],
        *call.scales,
        POWER=call.problem.variant.sharpen,
        DIM=call.dim,
        TOGETHER=together,
        ROWS=ROWS,
        KEYS=KEYS,
        KEY_SLOTS=slots[0],
        VALUE_SLOTS=slots[1],
        **REGISTERS,
        num_warps=4,
    )


def matrix_of(call: Call) -> tuple[Tensor, int, int, int]:
    """The values as a matrix of rows of one length, from which tiles can be copied.

    Returns:
        The matrix; the first row of a key head is `batch · b + head · h`, and its first column
        `column · h`: batch, head, column.
    """
    value = call.value
    assert value is not None
    batches, heads, length, dim = value.shape
    batch, head, token, _ = value.stride()
    bytes_of = value.element_size()
    aligned = not any(x * bytes_of % ALIGNED for x in (token, head)) and (
        value.data_ptr() % ALIGNED == 0
    )
    if aligned and head == dim and token >= heads * dim and batch == length * token:
        # heads beside each other, as the projections of a model leave them
        matrix = value.as_strided((batches * length, heads * dim), (token, 1))
        return matrix, length, 0, dim
    plain = value.contiguous()
    if plain.data_ptr() % ALIGNED:
        plain = plain.clone()
    return plain.view(-1, dim), heads * length, length, 0


@lru_cache
def _gluon(dim: int) -> tuple[ModuleType, Any, tuple[Any, Any]]:
    """The kernel's module, what makes descriptors, and the layouts of a tile of keys and values;
    none of which other versions of Triton need to have."""
    from triton.experimental.gluon import language
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from . import hopper_forward

    layout = language.NVMMASharedLayout.get_default_for
    shape = [KEYS, dim]
    layouts = layout(shape, language.float16), layout(shape, language.bfloat16)
    return hopper_forward, TensorDescriptor, layouts
