"""What a run reports while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks

from .recipe import Recipe

__all__ = ["Progress", "Reports"]


@dataclass(frozen=True)
class Progress:
    """What a run reports: after every evaluation, and when a learning rate was tried."""

    phase: str
    """`search` or `train`."""
    step: int
    steps: int
    learning_rate: float
    loss: float
    """Mean training loss since the last report, nats per token."""
    validation: float
    tokens_per_step: int
    tokens_per_second: float


class Reports:
    """Losses since the last report, the mean of all ranks, and how long they took."""

    def __init__(
        self, recipe: Recipe, report: Callable[[Progress], None], ranks: Ranks = ALONE
    ) -> None:
        self._tokens = recipe.batch * recipe.train_length
        self._report, self._ranks = report, ranks
        self.begin()

    def begin(self) -> None:
        """What follows is reported next."""
        self._losses: list[Tensor] = []
        self._started = time.perf_counter()

    def add(self, loss: Tensor) -> None:
        """One step's loss; it is not read before the report, which would wait for a GPU."""
        self._losses.append(loss)

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
