"""Attention with linear biases (ALiBi, arXiv 2108.12409): a score falls with the distance."""

from __future__ import annotations

__all__ = ["slopes"]


def slopes(heads: int) -> tuple[float, ...]:
    """What the score of each of so many heads loses by a token: `2^(−8h/H)`, h = 1 … H.

    The paper's for a power of two (section 3); for other numbers its authors' code mixes the
    slopes of two powers of two, and here the same formula stands.
    """
    return tuple(float(2 ** (-8 * head / heads)) for head in range(1, heads + 1))
