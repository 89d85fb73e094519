"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence: 2 wrong call, 1 failure, 130 Ctrl-C.

    Anything else is a bug, and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # a closed pipe or a full disk shows here, not at exit
        except BrokenPipeError:  # the reader has seen enough, as in `| head`
            _discard_output()
            raise typer.Exit(1) from None
        except (Exception, KeyboardInterrupt) as error:  # a bug is raised again
            from freeatten_core.errors import told

            sentence = told(error)
            if sentence is None:
                raise
            _stop(*sentence)

    return run


def _discard_output() -> None:
    """Point standard output at nothing: the interpreter writes what is left when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())


def _stop(message: str, code: int) -> None:
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
