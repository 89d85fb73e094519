"""Ends for what tests wait for: programs they start, and loops that something else ends."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LIMIT = 90
"""Seconds that nothing of these tests takes, on a busy machine."""


def ended(
    words: Sequence[Any], *, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` with a bound."""
    return subprocess.run(words, check=check, timeout=LIMIT, **options)


@contextmanager
def started(words: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A program that has ended when the block is left; reading what it writes ends with it."""
    with subprocess.Popen(words, **options) as process:
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            yield process
            process.wait(LIMIT)
        finally:
            timer.cancel()
            process.kill()


def turns(seconds: float = LIMIT) -> Iterator[None]:
    """Of a loop that is left, or stopped, from within; a failure when that does not happen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
    raise AssertionError(f"it goes on after {seconds} s")
