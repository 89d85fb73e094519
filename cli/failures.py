"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence: 2 wrong call, 1 failure, 130 Ctrl-C, 143 SIGTERM.

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


def unwind_when_terminated() -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does: what is half-written is removed."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second must not cut the unwinding short
        raise KeyboardInterrupt(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has not both
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, stop)


def _discard_output() -> None:
    """Point standard output at nothing: the interpreter writes what is left when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())


def _stop(message: str, code: int) -> None:
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
