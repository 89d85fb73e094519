"""Work of one server in the background: bounded, with progress, given up when nobody asks."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Literal, get_args

from freeatten_core.basics.errors import UsageError

from .answers import Answer, GoneError, sentence_of, text_of
from .memory import release_memory

__all__ = ["AT_ONCE", "Advance", "CancelledError", "Job", "Jobs"]

Kind = Literal["analysis", "comparison"]
"""Each kind has threads of its own: a comparison of an hour keeps no map waiting."""
Advance = Callable[[float, float], None]
"""Called with (cost done, cost in all); raises when the work is not wanted any more."""
AT_ONCE = 2
"""Jobs of a kind that run at the same time, so that one session does not block another."""
MOST_WAITING = 64
"""A page that opens asks for two, and many may open at once."""
MOST_JOBS = 256
ABANDONED = 60.0
"""Seconds after which a job that no page asks about any more is given up."""
NAME_CHARACTERS = 100


class CancelledError(Exception):
    """The page does not want the job any more."""


@dataclass
class Job:
    """Work on its way."""

    state: str = "waiting"
    """`waiting`, `running`, `done`, `failed` or `cancelled`."""
    share: float = 0.0
    error: str = ""
    answer: Answer = field(default_factory=dict)
    """What the page is told when it is done."""
    stop: Event = field(default_factory=Event)
    heard: float = field(default_factory=time.monotonic)
    """When a page last asked about it."""

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "running")

    def advance(self, done: float, whole: float) -> None:
        """Progress; ends the work that nobody waits for."""
        if self.stop.is_set() or time.monotonic() - self.heard > ABANDONED:
            raise CancelledError
        self.share = done / whole


class Jobs:
    """The jobs of one server, each known by a name that nobody can guess."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()
        self._pools = {
            kind: ThreadPoolExecutor(AT_ONCE, thread_name_prefix=kind) for kind in get_args(Kind)
        }

    def close(self) -> None:
        """Ends what is running."""
        for job in list(self._jobs.values()):
            job.stop.set()
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)

    def start(self, kind: Kind, work: Callable[[Advance], Answer]) -> str:
        """Begins a job; its name.

        Raises:
            UsageError: too many are waiting.
        """
        job, name = Job(), secrets.token_urlsafe(16)
        with self._lock:
            if sum(each.state == "waiting" for each in self._jobs.values()) >= MOST_WAITING:
                raise UsageError("the server is busy with other analyses; try again in a minute")
            while len(self._jobs) >= MOST_JOBS:
                self._jobs.popitem(last=False)[1].stop.set()
            self._jobs[name] = job
        # in the context of the call: a lent GPU is granted to the visitor whose request it is
        self._pools[kind].submit(copy_context().run, _run, job, work)
        return name

    def get(self, name: Any) -> Job:
        """A job by its name.

        Raises:
            GoneError: there is none.
        """
        job = self._jobs.get(text_of("the job", name, NAME_CHARACTERS))
        if job is None:
            raise GoneError
        job.heard = time.monotonic()
        return job


def _run(job: Job, work: Callable[[Advance], Answer]) -> None:
    try:
        job.advance(0, 1)
        job.state = "running"
        job.answer = work(job.advance)
        job.share, job.state = 1.0, "done"
    except CancelledError:
        job.state = "cancelled"
    except Exception as error:  # any type: a thread's end, where it would go unheard
        job.error, job.state = sentence_of(error), "failed"
    finally:
        release_memory()
