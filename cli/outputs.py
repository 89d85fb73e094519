"""What a command gives: shown on standard output and written to files, each for itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Write = Callable[[Path], None]


def deliver(show: Callable[[], None], files: Sequence[tuple[Path | None, Write]]) -> None:
    """Show a result and write its files; what fails takes nothing of the rest along.

    Args:
        show: writes to standard output.
        files: each place, None where none was asked for, with what writes there.

    Raises:
        ContentError: after everything was tried, says what could not be written.
    """
    from freeatten_core.errors import ContentError, told

    failures: list[str] = []
    left = False
    try:
        show()
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # `rich` exits where the reader has seen enough
        left = True
    except OSError as error:
        failures.append(f"standard output: {error.strerror or error}")
    for path, write in files:
        if path is None:
            continue
        try:
            write(path)
        except Exception as error:  # a bug is raised again
            sentence = told(error)
            if sentence is None:
                raise
            failures.append(sentence[0])
    if failures:
        raise ContentError("\n".join(failures))
    if left:
        raise BrokenPipeError
