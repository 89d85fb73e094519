"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from freeatten_core.basics.errors import sentence_and_code

__all__ = ["guarded"]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:  # a bug is raised again
            found = sentence_and_code(error)
            if found is None:
                raise
            sentence, code = found
            panel = Panel(Text(sentence), title="freeatten-viz", border_style="red")
            with suppress(OSError):  # nobody reads it; the exit code still says it
                Console(stderr=True).print(panel)
            raise typer.Exit(code) from None

    return run
