"""DroPE (arXiv 2512.12167): a model is trained with rotary positions, and they are dropped late.

What is left is a model without positions, recalibrated for a short while at the length that it was
trained at, by a schedule of its own. Here both are parts of one training. The share is ours.
"""

from __future__ import annotations

__all__ = ["DROPPED", "part"]

DROPPED = 1 / 8
"""The share of the steps that come after the rotation is dropped, at least one."""


def part(step: int, steps: int) -> tuple[int, int]:
    """The part of a training that a step belongs to: its first step, and how many it has.

    The first begins at 0 and is rotary, the second is not.
    """
    turned = steps - max(1, round(DROPPED * steps))
    return (0, turned) if step < turned else (turned, steps - turned)
