"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn, get_type_hints

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from freeatten_core.basics.errors import FAILURE, sentence_and_code

__all__ = ["guarded", "stop"]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence: 2 wrong call, 1 failure, 130 Ctrl-C, 143 SIGTERM.

    Anything else is a bug, and keeps its traceback. Annotations are evaluated here, once: Typer
    evaluates those of every command four times, which took 14 ms more of every start.
    """
    command.__annotations__ = get_type_hints(command, include_extras=True)

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # a closed pipe or a full disk shows here, not at exit
        except BrokenPipeError:  # the reader has seen enough, as in `| head`
            raise typer.Exit(FAILURE) from None
        except (Exception, KeyboardInterrupt) as error:  # a bug is raised again
            found = sentence_and_code(error)
            if found is None:
                raise
            stop(*found)

    return run


def stop(message: str, code: int) -> NoReturn:
    """Say why on standard error, in a panel, and exit."""
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
