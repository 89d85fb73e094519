"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import typer

SEEDS = 1 << 64
"""Generators of random numbers take a seed below this."""


def seed_option(help_: str) -> Any:
    """`--seed`, a number that every generator takes."""
    return typer.Option(callback=_check_seed, help=help_)


def _check_seed(seed: int) -> int:
    if not 0 <= seed < SEEDS:
        raise typer.BadParameter(f"{seed} is no seed; it can be a number from 0 to {SEEDS - 1}")
    return seed
