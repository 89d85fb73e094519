"""What of the environment reaches the server: no variable opens it, moves it or keeps it closed.

Gradio reads some forty variables, when it is imported and when it starts; it also asks its own page
through httpx, which reads proxies and certificates. The command line alone says what is served, to
whom, and where.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from queue import SimpleQueue
from types import FrameType

from freeatten_core.basics.signals import interrupt

__all__ = ["direct", "open_streams", "say", "settle", "stop_signals", "without_collection"]

GRADIO = "GRADIO_"
SPACE = "SYSTEM"
"""By this Gradio knows a Space, whose hot reload locks imports: two threads that import wait for
each other for ever, and this app imports what a request needs when the request comes."""
LEFT_OUT = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "WEB_CONCURRENCY")
"""Read by httpx and uvicorn while the server starts; a wrong value ends them."""
STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def settle() -> None:
    """Takes out what Gradio would obey, and forbids telemetry; before Gradio is imported.

    Raises:
        OSError: no folder can take temporary files.
    """
    for name in list(os.environ):
        if name.startswith(GRADIO) or name == SPACE:
            del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # its own default is one folder for all users of a machine: the first of them owns it
    os.environ["GRADIO_TEMP_DIR"] = _scratch()


@lru_cache(maxsize=1)
def _scratch() -> str:
    """A new folder, removed when the interpreter ends."""
    folder = tempfile.mkdtemp(prefix="freeatten-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def direct() -> Iterator[None]:
    """Within, this process asks its own page directly and trusts what it has; then all is back.

    What the hub is asked later goes through the user's proxies and certificates.
    """
    before = dict(os.environ)
    for name in LEFT_OUT:
        os.environ.pop(name, None)
    os.environ["no_proxy"] = "*"  # in small letters it wins over NO_PROXY
    os.environ.setdefault("PATH", os.defpath)  # one of Gradio's packages demands one
    try:
        yield
    finally:
        for name in (*LEFT_OUT, "no_proxy", "PATH"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


@contextmanager
def without_collection() -> Iterator[None]:
    """Within, no garbage is looked for, which takes a tenth of a start and finds next to nothing.

    What was made within stays to the end, and is not looked through either: a collection while the
    server answers would go through all of Gradio each time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_on:
            gc.enable()


def open_streams() -> None:
    """Gives standard streams that are closed a place: nothing may take their numbers.

    Otherwise the first socket is standard output to all that writes there, and uvicorn, which asks
    whether it is a terminal, does not start.
    """
    for number, name, mode in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def say(sentence: str, *, error: bool = False) -> None:
    """Tells whoever still listens; a server goes on without."""
    name = "stderr" if error else "stdout"
    stream = getattr(sys, name)
    try:
        print(sentence, file=stream, flush=True)
    except (OSError, ValueError):  # a pipe without a reader, a full disk, a closed file
        # what is left in its buffer is written when the interpreter ends, and would fail again
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def stop_signals() -> Iterator[SimpleQueue[int]]:
    """Within, Ctrl-C and SIGTERM are noted, and nothing is torn; a second one interrupts.

    Yields:
        The numbers of the signals that came. Of the standard library's queues and events it is the
        one that a handler may fill while the main thread waits for it: the others would ask for a
        lock that this thread holds.
    """
    came: SimpleQueue[int] = SimpleQueue()

    def handler(number: int, frame: FrameType | None) -> None:
        came.put(number)
        if came.qsize() > 1:
            interrupt(number, frame)

    before = {each: signal.signal(each, handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for each, former in before.items():
            signal.signal(each, former)
