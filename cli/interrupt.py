"""Ctrl-C that never falls into an import: what half a module raises is no sentence."""

from __future__ import annotations

import signal
from _thread import interrupt_main
from threading import Timer
from types import FrameType

RETRY_SECONDS = 0.05
IMPORTING = "<frozen importlib._bootstrap>"
"""The file that Python gives for the code of its imports."""


def install() -> None:
    """Let Ctrl-C wait for the end of an import; a process that ignores it goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    if not _importing(frame):
        raise KeyboardInterrupt
    again = Timer(RETRY_SECONDS, interrupt_main)
    again.daemon = True
    again.start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False
