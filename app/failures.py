"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:  # a bug is raised again
            from freeatten_core.basics.errors import sentence_and_code

            found = sentence_and_code(error)
            if found is None:
                raise
            sentence, code = found
            panel = Panel(Text(sentence), title="freeatten-viz", border_style="red")
            with suppress(OSError):  # nobody reads it; the exit code still says it
                Console(stderr=True).print(panel)
            raise typer.Exit(code) from None

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
