"""What a run reports while it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks

from .recipe import Recipe

__all__ = ["TIMED", "WARM_UP", "Progress", "Reports"]

WARM_UP, TIMED = 3, 7
"""Steps before the speed of a run is told."""


@dataclass(frozen=True)
class Progress:
    """What a run reports: its speed, every evaluation, and when a learning rate was tried."""

    phase: str
    """`start` (the first steps of a training), `search` or `train`."""
    step: int
    steps: int
    learning_rate: float
    loss: float
    """Mean training loss since the last report, nats per token."""
    validation: float
    """NaN at the start, where none was made."""
    tokens_per_step: int
    tokens_per_second: float


class Reports:
    """Losses since the last report, the mean of all ranks, and how long they took."""

    def __init__(
        self, recipe: Recipe, report: Callable[[Progress], None], ranks: Ranks = ALONE
    ) -> None:
        self._tokens = recipe.batch * recipe.train_length
        self._report, self._ranks = report, ranks
        self._timed = False
        self.begin()

    def begin(self) -> None:
        """What follows is reported next."""
        self._losses: list[Tensor] = []
        self._started = time.perf_counter()

    def add(self, loss: Tensor) -> None:
        """One step's loss; it is not read before the report, which would wait for a GPU."""
        self._losses.append(loss)

    def start(self, step: int, steps: int, learning_rate: float) -> None:
        """After each of a run's first steps: in time, how fast the last of them were.

        What the first of them wait for, a compiler or memory, is left out.
        """
        if self._timed:
            return
        if len(self._losses) == WARM_UP:
            float(self._losses[-1])  # until a GPU has done it
            self._warm = time.perf_counter()
        elif len(self._losses) == WARM_UP + TIMED:
            self._timed = True
            loss = float(self._ranks.mean(torch.stack(self._losses).mean()))
            speed = TIMED * self._tokens / (time.perf_counter() - self._warm)
            self._report(
                Progress("start", step, steps, learning_rate, loss, math.nan, self._tokens, speed)
            )

    def send(
        self, phase: str, step: int, steps: int, learning_rate: float, validation: float
    ) -> tuple[dict[str, float], float]:
        """Report all since `begin`; the curve's entry for it, and the seconds."""
        seconds = time.perf_counter() - self._started
        loss = float(self._ranks.mean(torch.stack(self._losses).mean()))
        speed = len(self._losses) * self._tokens / seconds
        self._report(
            Progress(phase, step, steps, learning_rate, loss, validation, self._tokens, speed)
        )
        entry = {"step": step, "loss": round(loss, 5), "validation": round(validation, 5)}
        return entry, seconds
