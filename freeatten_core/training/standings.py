"""Where a step of training puts the tokens of its texts, for positions that draw it anew."""

from __future__ import annotations

import torch

from freeatten_core.models.decoder import Model
from freeatten_core.models.places import Places, Standing
from freeatten_core.positions import clex

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
        self._draws = not kinds.isdisjoint(DRAWING)
        position = torch.arange(length, dtype=torch.float64, device=device)
        self._rest = Standing(position, torch.zeros(1, dtype=torch.long, device=device))
        self._standing = Standing(*(each.clone() for each in self._rest))
        self._ahead, self._drawn = -1, self._standing

    def at(self, step: int) -> None:
        """As a step of training has it."""
        if not self._draws:
            return
        ahead = step // DRAWN_AHEAD
        if ahead != self._ahead:
            self._drawn, self._ahead = self._draw(ahead * DRAWN_AHEAD), ahead
        self._set(Standing(*(each[step % DRAWN_AHEAD] for each in self._drawn)))

    def rest(self) -> None:
        """As a text is read."""
        if self._draws:
            self._set(self._rest)

    def places(self) -> Places:
        """Those of now; gradients flow to what positions learn."""
        return self._model.placed(self._resting, self._standing) if self._draws else self._resting

    def _set(self, standing: Standing) -> None:
        for mine, given in zip(self._standing, standing, strict=True):
            mine.copy_(given)

    def _draw(self, first: int) -> Standing:
        """Of so many steps from the first on, each a row."""
        steps = range(first, first + DRAWN_AHEAD)
        found = [clex.drawn(self._length, (self._seed, step, SALT)) for step in steps]
        device = self._rest.position.device
        stretch = torch.tensor([[t - 1] for t, _ in found], device=device)
        position = torch.stack([torch.from_numpy(places) for _, places in found])
        return Standing(position.to(device, torch.float64), stretch)
