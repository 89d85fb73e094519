"""What measuring gives, whole or ended by a signal: known without PyTorch, which it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from freeatten_core.results.format import finished_text

if TYPE_CHECKING:
    from freeatten_core.results.facts import ResultDict

    from .scoring import Losses

__all__ = [
    "Comparison",
    "Interrupted",
    "InterruptedComparison",
    "InterruptedRows",
    "whole_or_part",
]


@dataclass
class Comparison:
    """The result, and the losses of every token for `--npz`."""

    result: ResultDict
    losses: dict[str, Losses]


class Interrupted(KeyboardInterrupt):
    """A signal that ended a measurement of several rows, of which some were finished."""

    def __init__(self, result: ResultDict, by: KeyboardInterrupt) -> None:
        super().__init__(*by.args)  # with the signal's number it has the signal's exit code
        said = f"stopped; what was finished is given: {finished_text(result)}"
        for note in getattr(by, "__notes__", [said]):
            self.add_note(note)


class InterruptedRows(Interrupted):
    """`result` is of the rows that were finished."""

    def __init__(self, result: ResultDict, by: KeyboardInterrupt) -> None:
        super().__init__(result, by)
        self.result = result


def whole_or_part(result: ResultDict, asked: int, stopped: KeyboardInterrupt | None) -> ResultDict:
    """A result, unless `stopped` ended it.

    Args:
        asked: how many rows were asked for.
        stopped: the signal that ended the others, if one did.

    Raises:
        InterruptedRows: it did; holds the result, marked as a part.
    """
    if stopped is None:
        return result
    part = {"partial": True, "rows_asked": asked}
    raise InterruptedRows(result | part, stopped) from stopped


class InterruptedComparison(Interrupted):
    """`done` is of the rows that were finished."""

    def __init__(self, done: Comparison, by: KeyboardInterrupt) -> None:
        super().__init__(done.result, by)
        self.done = done
