"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

STOPPED, INTERRUPTED, SIGNALLED, FAILURE = "stopped; nothing half-written was left", 130, 128, 1


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
            raise typer.Exit(FAILURE) from None
        except KeyboardInterrupt as error:
            stop(*interrupted(error))
        except Exception as error:  # a bug is raised again
            from freeatten_core.basics.errors import sentence_and_code

            sentence = sentence_and_code(error)
            if sentence is None:
                raise
            stop(*sentence)

    return run


def interrupted(error: KeyboardInterrupt) -> tuple[str, int]:
    """What to say and the exit code, as `told` has them, which would load PyTorch first.

    A note says what is kept; an argument is the number of the signal, if it was not Ctrl-C.
    """
    notes = getattr(error, "__notes__", [STOPPED])
    is_signal = bool(error.args) and isinstance(error.args[0], int)
    return notes[0], SIGNALLED + error.args[0] if is_signal else INTERRUPTED


def stop(message: str, code: int) -> NoReturn:
    """Say why on standard error, in a panel, and exit."""
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
