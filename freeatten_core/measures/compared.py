"""What measuring gives, whole or ended by a signal: known without PyTorch, which it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freeatten_core.results.facts import ResultDict

    from .scoring import Losses

__all__ = ["Comparison", "Interrupted", "InterruptedComparison", "InterruptedRows"]


@dataclass
class Comparison:
    """The result, and the losses of every token for `--npz`."""

    result: ResultDict
    losses: dict[str, Losses]


class Interrupted(KeyboardInterrupt):
    """A signal that ended a measurement of several rows, of which some were finished."""

    def __init__(self, result: ResultDict, by: KeyboardInterrupt) -> None:
        super().__init__(*by.args)  # with the signal's number it has the signal's exit code
        finished, asked = len(result["variants"]), result["rows_asked"]
        said = f"stopped; what was finished is given: {finished} of {asked} rows"
        for note in getattr(by, "__notes__", [said]):
            self.add_note(note)


class InterruptedRows(Interrupted):
    """`result` is of the rows that were finished."""

    def __init__(self, result: ResultDict, by: KeyboardInterrupt) -> None:
        super().__init__(result, by)
        self.result = result


class InterruptedComparison(Interrupted):
    """`done` is of the rows that were finished."""

    def __init__(self, done: Comparison, by: KeyboardInterrupt) -> None:
        super().__init__(done.result, by)
        self.done = done
