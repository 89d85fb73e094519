"""Tables that fit their window: columns that have no room are left out and named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Column", "FittedTable"]

GAP = 2


@dataclass(frozen=True)
class Column:
    """A heading and the cells below it."""

    head: str
    cells: Sequence[str]
    left: bool = False
    """Aligned to the left; numbers are not."""

    @property
    def width(self) -> int:
        lines = [line for text in (self.head, *self.cells) for line in text.split("\n")]
        return max(map(cell_len, lines))

    @property
    def broken(self) -> Column:
        """The same with every word on a line of its own."""
        cells = [text.replace(" ", "\n") for text in self.cells]
        return replace(self, head=self.head.replace(" ", "\n"), cells=cells)


@dataclass(frozen=True)
class FittedTable:
    """A table for any width.

    On one line where there is room, else with the words of a cell below each other; where that is
    too wide as well, optional columns go, one after the other, and a line below names them.
    """

    names: Sequence[Column]
    """What a row is of; always shown, cut where nothing else helps."""
    optional: Sequence[Column]
    title: str = ""
    first_go: bool = False
    """Whether optional columns go from the first on; else from the last."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        columns, left_out, gap = self._fitting(options.max_width)
        table = Table(
            box=None,
            pad_edge=False,
            padding=(0, gap, 0, 0),
            header_style="dim",
        )
        for column in columns:
            table.add_column(
                Text(column.head),
                justify="left" if column.left else "right",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*map(Text, row))
        if self.title:
            yield Text(self.title, style="bold")
        yield table
        if left_out:
            named = ", ".join(column.head.replace("\n", " ") for column in left_out)
            yield Text(f"left out for want of width: {named}; --json has all", style="dim")

    def _fitting(self, width: int) -> tuple[list[Column], list[Column], int]:
        """The columns to show, those that have no room, and the gap between columns."""
        names, whole = list(self.names), list(self.optional)
        broken = [column.broken for column in whole]
        for columns, gap in ((whole, GAP), (broken, GAP), (broken, 1)):
            if _width([*names, *columns], gap) <= width:
                return [*names, *columns], [], gap
        kept, gone = list(broken), list[Column]()
        while len(kept) > 1 and _width([*names, *kept], 1) > width:
            gone.append(kept.pop(0 if self.first_go else -1))
        return [*names, *kept], gone if self.first_go else gone[::-1], 1


def _width(columns: Sequence[Column], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)
