"""What a comparison gives, measured or stored: known without PyTorch, which measuring needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freeatten_core.results.facts import ResultDict

    from .scoring import Losses

__all__ = ["Comparison", "InterruptedComparison"]


@dataclass
class Comparison:
    """The result, and the losses of every token for `--npz`."""

    result: ResultDict
    losses: dict[str, Losses]


class InterruptedComparison(KeyboardInterrupt):
    """Ctrl-C, with the rows that were finished before it in `done`."""

    def __init__(self, done: Comparison) -> None:
        super().__init__()
        self.done = done
