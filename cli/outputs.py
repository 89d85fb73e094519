"""What a command gives: shown on standard output and written to files, each for itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Write = Callable[[Path], None]


def deliver(show: Callable[[], None], files: Sequence[tuple[Path | None, Write]]) -> None:
    """Show a result and write its files; what fails takes nothing of the rest along.

    Args:
        show: writes to standard output.
        files: each place, None where none was asked for, with what writes there.

    Raises:
        ContentError: after everything was tried, says what could not be written.
    """
    from freeatten_core.basics.errors import ContentError, sentence_and_code

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
            sentence = sentence_and_code(error)
            if sentence is None:
                raise
            failures.append(sentence[0])
    if failures:
        raise ContentError("\n".join(failures))
    if left:
        raise BrokenPipeError


def show_json(result: Mapping[str, Any]) -> None:
    """A result as JSON, alone on standard output."""
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")


def refuse_failed(result: Mapping[str, Any]) -> None:
    """Whether every row has its numbers; in low precision what is not finite is one of them.

    Raises:
        ContentError: names the rows that failed, and the place where losses stop being finite.
    """
    from freeatten_core.basics.errors import ContentError
    from freeatten_core.results.format import troubles

    rows = result["variants"]
    if any(row.get("error") for row in rows) or (
        result["dtype"] == "float32" and any(row.get("first_not_finite") for row in rows)
    ):
        raise ContentError("\n".join(troubles(result)))
