"""Signals that end a command unwind it, and never tear an import: half a module tells nothing.

A handler runs between any two steps of the main thread, which may hold a lock just then: a handler
that asks for that lock waits for ever. So none here takes a lock of Python's `threading`.
"""

from __future__ import annotations

import os
import signal
import time
from _thread import start_new_thread  # `threading.Thread` takes a lock to start
from types import FrameType

__all__ = ["interrupt", "unwind_when_signalled"]

RETRY_SECONDS = 0.05
IMPORTING = "<frozen importlib._bootstrap>"
"""The file that Python gives for the code of its imports."""


def unwind_when_signalled() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end the process alike: what is half-written is removed.

    A process that ignores one of them, as under `nohup`, goes on ignoring it.
    """
    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL}
    usual["SIGHUP"] = signal.SIG_DFL
    for name, handler in usual.items():
        number = getattr(signal, name, None)  # Windows has not all
        if number is not None and signal.getsignal(number) == handler:
            signal.signal(number, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler: unwinds what runs in `frame`, an import only when it is done.

    Raises:
        KeyboardInterrupt: with the signal's number, unless that is Ctrl-C's.
    """
    if _importing(frame):
        start_new_thread(_send_again, (number,))
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_IGN)  # a second must not cut the unwinding short
    raise KeyboardInterrupt(number)


def _send_again(number: int) -> None:
    time.sleep(RETRY_SECONDS)
    os.kill(
        os.getpid(), number
    )  # a real signal: it also ends a wait, which a simulated one does not


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False
