"""Failures become one panel on standard error and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

WRONG_CALL, FAILURE, INTERRUPTED = 2, 1, 130


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into a sentence: 2 wrong call, 1 failure, 130 Ctrl-C."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _stop("stopped; nothing half-written was left", INTERRUPTED)
        except ValueError as error:
            _stop(str(error), WRONG_CALL)
        except MemoryError:
            _stop("out of memory; use a shorter length or fewer texts", FAILURE)
        except Exception as error:
            from freeatten_core.errors import ContentError

            if not isinstance(error, ContentError | OSError):
                raise
            _stop(str(error), FAILURE)

    return run


def _stop(message: str, code: int) -> None:
    Console(stderr=True).print(Panel(Text(message), title="freeatten", border_style="red"))
    raise typer.Exit(code)
