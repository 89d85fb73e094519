"""`x ** p` for whole `p` by multiplications: `pow(x, 15)` costs four times as much on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["power_", "prime_factors"]


def prime_factors(number: int) -> list[int]:
    """Ascending prime factors; empty for 1."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def power_(base: Tensor, p: int, scratch: Tensor) -> tuple[Tensor, Tensor]:
    """`base ** p` for p >= 1; both tensors are overwritten.

    One prime factor at a time, each by squaring: 5 multiplications for p = 15.

    Args:
        base, scratch: any shape, the same for both.

    Returns:
        The tensor that holds the power, and the other one.
    """
    for factor in prime_factors(p):
        torch.mul(base, base, out=scratch)
        low_bits = bin(factor)[3:]
        if low_bits[0] == "1":
            scratch.mul_(base)
        for bit in low_bits[1:]:
            scratch.mul_(scratch)
            if bit == "1":
                scratch.mul_(base)
        base, scratch = scratch, base
    return base, scratch
