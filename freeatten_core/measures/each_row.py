"""Rows that are measured one by one: one that fails or is interrupted does not take the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from freeatten_core.basics.errors import sentence_and_code
from freeatten_core.results.facts import ResultDict, json_ready

from .compared import whole_or_part

__all__ = ["MeasuredRows", "each_row"]

Entry = dict[str, Any]
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class MeasuredRows:
    """Entries of rows, all or those before a signal."""

    entries: list[Entry]
    asked: int
    """How many rows there are."""
    stopped: KeyboardInterrupt | None = None
    """What ended the others."""

    def result(self, header: Mapping[str, Any]) -> ResultDict:
        """The whole result as JSON.

        Raises:
            InterruptedRows: a signal ended it, with the result of the rows that were finished.
        """
        result = dict(json_ready({**header, "variants": self.entries}))
        return whole_or_part(result, self.asked, self.stopped)


def each_row(
    rows: Sequence[Measured],
    measure: Callable[[Measured], Entry],
    missing: Callable[[Measured], Entry] | None = None,
) -> MeasuredRows:
    """Measure row by row.

    Args:
        measure: gives a row's entry.
        missing: the same without numbers, for a row that fails; its `error` is added. None where
            entries themselves say what failed.

    Raises:
        UsageError, ContentError: the only row fails.
        KeyboardInterrupt: a signal before any row has numbers.
    """
    entries: list[Entry] = []
    for row in rows:
        try:
            entries.append(measure(row))
        except KeyboardInterrupt as stopped:
            if all("error" in entry for entry in entries):
                raise
            return MeasuredRows(entries, len(rows), stopped)
        except Exception as error:  # a bug is raised again
            sentence = sentence_and_code(error)
            if sentence is None or missing is None or len(rows) == 1:
                raise
            entries.append(missing(row) | {"error": sentence[0]})
    return MeasuredRows(entries, len(rows))
