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

WRONG_CALL, FAILURE, INTERRUPTED = 2, 1, 130
OUT_OF_MEMORY = "out of memory; use a shorter length, fewer texts or a smaller model"


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence: 2 wrong call, 1 failure, 130 Ctrl-C.

    Anything else is a bug, and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # a closed pipe or a full disk shows here, not at exit
        except KeyboardInterrupt:
            _stop("stopped; nothing half-written was left", INTERRUPTED)
        except BrokenPipeError:  # the reader has seen enough, as in `| head`
            _discard_output()
            raise typer.Exit(FAILURE) from None
        except Exception as error:  # sorted below; what is not ours is raised again
            from freeatten_core.errors import ContentError, UsageError

            if isinstance(error, UsageError):
                _stop(str(error), WRONG_CALL)
            if _out_of_memory(error):
                _stop(OUT_OF_MEMORY, FAILURE)
            if not isinstance(error, ContentError | OSError):
                raise
            _stop(str(error), FAILURE)

    return run


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's own error, or what torch raises on a CPU or GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _discard_output() -> None:
    """Point standard output at nothing: the interpreter writes what is left when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())


def _stop(message: str, code: int) -> None:
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
