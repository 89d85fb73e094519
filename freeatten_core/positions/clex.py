"""CLEX (arXiv 2310.16450): rotary frequencies that a learned equation moves as a text grows.

`z(t) = log ω` at the stretch `t ≥ 1` of the training length, from `ω_i = b^(−2i/D)` at t = 1:

    dz/dt = tanh((z + log ω^NTK(t)) W_up) W_down + ξ(t)
    ω_i^NTK(t) = (b · α^(D/(D−2)))^(−2i/D),   α(t) = 2t − 1,   ξ_i(t) = d log ω_i^NTK / dt

The equation is the authors' (DAMO-NLP-SG/CLEX, `CLEX/clex_layer.py`). They solve it by steps of
0.01 in t; here in `u = log α` and for `y = z − log ω^NTK`, which makes it

    dy/du = α/2 · tanh((y + 2 log ω^NTK) W_up) W_down,   y(0) = 0,

so that W_down = 0, the start, is NTK scaling exactly, and 42 steps do for what took 1,500.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Moves = Callable[[float, Tensor], Tensor]
    """dy/du at (u, y)."""

__all__ = ["LARGEST_STRETCH", "WIDENING", "alpha", "drawn", "frequencies", "stretch_of"]

LARGEST_STRETCH = 16
"""The authors' `max_factor` in length: longer texts are read as if so many times as long."""
WIDENING = 1
"""λ: W_up is D/2 × λD, W_down λD × D/2."""
LARGEST_STEP = 0.1
"""In log α, of the Runge–Kutta method of order 4."""


def alpha(stretch: float) -> float:
    """By how much NTK scaling stretches, for a text `stretch` times as long as in training."""
    return 2 * stretch - 1


def stretch_of(length: int, train_length: int) -> int:
    """t for a text of `length` tokens: ⌈length / L⌉, from 1 to the largest."""
    return max(1, min(LARGEST_STRETCH, -(-length // train_length)))


def frequencies(up: Tensor, down: Tensor, base: float, stretch: int = LARGEST_STRETCH) -> Tensor:
    """ω at t = 1, 2, … `stretch`, float64 (stretch, D / 2); gradients flow to the weights.

    Args:
        up: W_up (D / 2, λD).
        down: W_down (λD, D / 2).
        base: b.
    """
    import torch  # what only knows the position's name does without

    up, down, pairs = up.double(), down.double(), up.shape[0]
    pair = torch.arange(pairs, dtype=torch.float64, device=up.device)
    plain, slope = -pair / pairs * math.log(base), -pair / max(1, pairs - 1)

    def moves(u: float, y: Tensor) -> Tensor:
        ntk = plain + u * slope
        return math.exp(u) / 2 * (torch.tanh((y + 2 * ntk) @ up) @ down)

    u, y = 0.0, torch.zeros_like(plain)
    found = [plain]
    for t in range(2, stretch + 1):
        end = math.log(alpha(t))
        steps = math.ceil((end - u) / LARGEST_STEP)
        h = (end - u) / steps
        for step in range(steps):
            y = _runge_kutta(moves, u + step * h, y, h)
        u = end
        found.append(plain + u * slope + y)
    return torch.stack(found).exp()


def _runge_kutta(moves: Moves, u: float, y: Tensor, h: float) -> Tensor:
    first = moves(u, y)
    second = moves(u + h / 2, y + h / 2 * first)
    third = moves(u + h / 2, y + h / 2 * second)
    fourth = moves(u + h, y + h * third)
    return y + h / 6 * (first + 2 * second + 2 * third + fourth)


def drawn(length: int, key: tuple[int, ...]) -> tuple[int, NDArray[np.int64]]:
    """What a step of training is at: t from 1 to the largest, and where its tokens stand.

    The places (length,) are sorted distinct whole numbers from 0 to length · t − 1, both ends
    among them; at t = 1 those of every text. The key alone decides.
    """
    import numpy as np  # the operator alone, as a kernel, does without

    draw = np.random.default_rng(key)
    stretch = int(draw.integers(1, LARGEST_STRETCH + 1))
    between = draw.choice(length * stretch - 2, length - 2, replace=False) + 1
    return stretch, np.concatenate([[0], np.sort(between), [length * stretch - 1]])
