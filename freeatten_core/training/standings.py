"""Where a step of training puts the tokens of its texts, for positions that change meanwhile."""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.models.decoder import Model
from freeatten_core.models.places import Places, Standing
from freeatten_core.positions import clex, drope

from .batches import DRAWN_AHEAD

__all__ = ["Standings"]

DRAWING = ("clex", "random")
"""Kinds of positions whose tokens stand elsewhere in every step of training."""
SALT = 1
"""Apart from the texts', which are drawn with (seed, step)."""


class Standings:
    """A model's places, step by step; in tensors that stay, for a replayed graph to read.

    They depend on the seed and the step alone.
    """

    def __init__(self, model: Model, seed: int, device: torch.device) -> None:
        length = model.config.train_length
        self._model, self._seed, self._length = model, seed, length
        self._resting = model.places(length, device)
        kinds = model.config.variant.setting.position.kinds
        self._draws, self._drops = not kinds.isdisjoint(DRAWING), "drope" in kinds
        position = torch.arange(length, dtype=torch.float64, device=device)
        stretch = torch.zeros(1, dtype=torch.long, device=device)
        self._standing = Standing(position, stretch, stretch == 0)
        self._rest = position.clone(), stretch.clone()
        self._ahead, self._drawn = -1, self._rest

    def at(self, step: int, steps: int) -> None:
        """As a step of a training of so many has it."""
        if self._drops:
            self._standing.turned.fill_(drope.part(step, steps)[0] == 0)
        if not self._draws:
            return
        ahead = step // DRAWN_AHEAD
        if ahead != self._ahead:
            self._drawn, self._ahead = self._draw(ahead * DRAWN_AHEAD), ahead
        position, stretch = self._drawn
        self._put(position[step % DRAWN_AHEAD], stretch[step % DRAWN_AHEAD])

    def rest(self) -> None:
        """As a text is read by the model of now."""
        if self._draws:
            self._put(*self._rest)

    def places(self) -> Places:
        """Those of now; gradients flow to what positions learn."""
        if not (self._draws or self._drops):
            return self._resting
        return self._model.placed(self._resting, self._standing)

    def _put(self, position: Tensor, stretch: Tensor) -> None:
        self._standing.position.copy_(position)
        self._standing.stretch.copy_(stretch)

    def _draw(self, first: int) -> tuple[Tensor, Tensor]:
        """Places and t − 1 of so many steps from the first on, each a row."""
        steps = range(first, first + DRAWN_AHEAD)
        found = [clex.drawn(self._length, (self._seed, step, SALT)) for step in steps]
        device = self._standing.position.device
        stretch = torch.tensor([[t - 1] for t, _ in found], device=device)
        position = torch.stack([torch.from_numpy(places) for _, places in found])
        return position.to(device, torch.float64), stretch
