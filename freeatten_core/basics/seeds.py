"""Generators of random numbers, from a seed that they take."""

from __future__ import annotations

import torch

from .errors import UsageError

__all__ = ["check_seed", "generator"]

SEEDS = 1 << 64
"""PyTorch takes a seed below this."""


def generator(seed: int) -> torch.Generator:
    """On the CPU, so that a seed gives the same numbers everywhere; errors as `check_seed`."""
    return torch.Generator().manual_seed(check_seed(seed))


def check_seed(seed: int) -> int:
    """The seed, if a generator takes it.

    Raises:
        UsageError: it does not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise UsageError(f"seed is {seed!r}; it must be a whole number from 0 to {SEEDS - 1}")
    return seed
