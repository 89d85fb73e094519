"""What a command gives: shown on standard output and written to files, each for itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.results.facts import ResultDict

__all__ = ["Outputs", "deliver", "marked", "refuse_failed", "show_json"]

Write = Callable[[Path], None]
SUBTITLE_LINE = 17
"""Pixels that one more line under a figure's title takes."""


def deliver(show: Callable[[], None], files: Sequence[tuple[Path | None, Write]]) -> None:
    """Show a result and write its files; what fails takes nothing of the rest along.

    Args:
        show: writes to standard output.
        files: each place, None where none was asked for, with what writes there.

    Raises:
        ContentError: after everything was tried, says what could not be written.
    """
    from freeatten_core.basics.errors import ContentError, reason_of, sentence_and_code

    failures: list[str] = []
    left = False
    try:
        show()
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # `rich` exits where the reader has seen enough
        left = True
    except OSError as error:
        failures.append(f"standard output: {reason_of(error)}")
    for path, write in files:
        if path is None:
            continue
        try:
            write(path)
        except Exception as error:  # a bug is raised again
            sentence = sentence_and_code(error)
            if sentence is None:
                raise
            failures.append(sentence[0])
    if failures:
        raise ContentError("\n".join(failures))
    if left:
        raise BrokenPipeError


@dataclass(frozen=True)
class Outputs:
    """What a command's options say about where its result goes."""

    as_json: bool
    """On standard output, in place of what is read there."""
    html: Path | None
    png: Path | None
    svg: Path | None
    csv: Path | None

    def check(self) -> None:
        """Refuse what cannot be written before minutes are spent on it; errors as there."""
        from .exports import check_outputs

        check_outputs({".html": self.html, ".png": self.png, ".svg": self.svg, ".csv": self.csv})

    def give(
        self,
        measure: Callable[[], ResultDict],
        show: Callable[[ResultDict], None],
        draw: Callable[[ResultDict], go.Figure],
        lines: Callable[[ResultDict], Iterable[Mapping[str, Any]]],
        *,
        writes: bool = True,
    ) -> None:
        """Measure and deliver, rows that were finished also where a signal ends the others.

        Args:
            writes: whether this process gives the result; of several ranks one does.

        Raises:
            ContentError: as `deliver` and `refuse_failed`.
        """
        from freeatten_core.measures.compared import InterruptedRows

        try:
            result = measure()
        except InterruptedRows as stopped:
            if writes:
                self.deliver(stopped.result, show, draw, lines)
            raise
        if writes:
            self.deliver(result, show, draw, lines)
            refuse_failed(result)

    def deliver(
        self,
        result: ResultDict,
        show: Callable[[ResultDict], None],
        draw: Callable[[ResultDict], go.Figure],
        lines: Callable[[ResultDict], Iterable[Mapping[str, Any]]],
    ) -> None:
        """Show a result, draw its pictures and write its lines as CSV; errors as `deliver`."""
        from .exports import save_figure, save_lines

        deliver(
            lambda: show_json(result) if self.as_json else show(result),
            [
                *(
                    (path, lambda path: save_figure(marked(draw(result), result), path))
                    for path in (self.html, self.png, self.svg)
                ),
                (self.csv, lambda path: save_lines(list(lines(result)), path)),
            ],
        )


def marked(figure: go.Figure, result: Mapping[str, Any]) -> go.Figure:
    """The figure with a line under its title where the result is a part of what was asked for."""
    from freeatten_core.results.format import partial_text

    said = partial_text(result)
    if said:
        details, layout = figure.layout.title.subtitle, figure.layout
        details.text = f"<b>{said}</b><br>{details.text}"
        figure.update_layout(height=layout.height + SUBTITLE_LINE)
        figure.update_layout(margin_t=layout.margin.t + SUBTITLE_LINE)
    return figure


def show_json(result: Mapping[str, Any]) -> None:
    """A result as JSON, alone on standard output."""
    sys.stdout.write(json.dumps(result, allow_nan=False, separators=(",", ":")) + "\n")


def refuse_failed(result: Mapping[str, Any]) -> None:
    """Whether every row has its numbers; in low precision what is not finite is one of them.

    Raises:
        ContentError: names the rows that failed, and the place where losses stop being finite.
    """
    from freeatten_core.basics.errors import ContentError
    from freeatten_core.results.format import troubles

    rows = result.get("variants", ())  # a benchmark has none: its notes say what failed
    if any(row.get("error") for row in rows) or (
        result.get("dtype") == "float32" and any(row.get("first_not_finite") for row in rows)
    ):
        raise ContentError("\n".join(troubles(result)))
