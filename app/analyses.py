"""Analyses of one server: a model over a text, made in the background and kept in bounds.

A page asks for one, is told how far it is, and later names it by an id that only those get who
asked for the same thing: it is a keyed digest of the whole request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock, Semaphore
from typing import TYPE_CHECKING, Any

from .answers import GoneError, sentence_of, text_of, wrong
from .cache import BoundedCache
from .models import Models
from .texts import Texts, TextSource

if TYPE_CHECKING:
    from freeatten_core.analysis import AttentionMap, Capture

AT_ONCE = 2
"""Analyses that are computed at the same time, so that one session does not block another."""
MOST_WAITING = 16
MOST_JOBS = 256
ABANDONED = 60.0
"""Seconds after which an analysis that no page asks about any more is given up."""
LONGEST, SHORTEST = 32_768, 2
MOST_SEED = 1_000_000
KEPT_ENTRIES, KEPT_BYTES = 256, 1_500_000_000
ID_CHARACTERS = 100


@dataclass(frozen=True)
class Asked:
    """What an analysis is of."""

    checkpoint: str
    text: TextSource
    length: int
    seed: int


@dataclass(frozen=True)
class Analysis:
    """A capture, and what the page says about it."""

    asked: Asked
    capture: Capture
    text: str
    """The name of the text that was drawn."""


class CancelledError(Exception):
    """The page does not want the analysis any more."""


@dataclass
class Job:
    """An analysis on its way."""

    asked: Asked
    state: str = "waiting"
    """`waiting`, `running`, `done`, `failed` or `cancelled`."""
    share: float = 0.0
    error: str = ""
    analysis: str = ""
    """Its id, when done."""
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


class Analyses:
    """The jobs, the captures and the maps of one server."""

    def __init__(
        self,
        models: Models,
        texts: Texts,
        device: str = "auto",
        *,
        entries: int = KEPT_ENTRIES,
        size: int = KEPT_BYTES,
    ) -> None:
        """Args: entries, size: bounds of what is kept."""
        self.models, self.texts, self.device = models, texts, device
        self.kept: BoundedCache[Any] = BoundedCache(entries, size)
        self._key = secrets.token_bytes(32)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()
        self._workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="analysis")
        self._builders = Semaphore(AT_ONCE)

    def close(self) -> None:
        """Ends what is running."""
        for job in list(self._jobs.values()):
            job.stop.set()
        self._workers.shutdown(cancel_futures=True)

    def asked(self, checkpoint: Any, text: Any, length: Any, seed: Any) -> Asked:
        """A request, checked.

        Raises:
            UsageError: a sentence about what is wrong with it.
        """
        from freeatten_core.analysis.map import check_whole

        return Asked(
            checkpoint=text_of("the checkpoint", checkpoint, 300).strip(),
            text=TextSource.of(text, self.texts.kinds()),
            length=check_whole("length", length, SHORTEST, LONGEST),
            seed=check_whole("seed", seed, 0, MOST_SEED),
        )

    def start(self, asked: Asked) -> str:
        """Begins an analysis; the id of its job.

        Raises:
            UsageError: too many are waiting.
        """
        job, name = Job(asked), secrets.token_urlsafe(16)
        with self._lock:
            if sum(each.state == "waiting" for each in self._jobs.values()) >= MOST_WAITING:
                raise wrong("the server is busy with other analyses; try again in a minute")
            while len(self._jobs) >= MOST_JOBS:
                self._jobs.popitem(last=False)[1].stop.set()
            self._jobs[name] = job
        self._workers.submit(self._run, job)
        return name

    def job(self, name: Any) -> Job:
        """A job by its id.

        Raises:
            GoneError: there is none.
        """
        job = self._jobs.get(text_of("the job", name, ID_CHARACTERS))
        if job is None:
            raise GoneError
        job.heard = time.monotonic()
        return job

    def get(self, name: Any) -> Analysis:
        """An analysis by its id.

        Raises:
            GoneError: it is not kept.
        """
        found = self.kept.get(text_of("the analysis", name, ID_CHARACTERS))
        if not isinstance(found, Analysis):
            raise GoneError
        return found

    def map(self, name: Any, layer: Any, head: Any) -> AttentionMap:
        """The zoomable map of a head of an analysis.

        Raises:
            GoneError: the analysis is not kept.
            UsageError: it has no such head.
        """
        from freeatten_core.analysis import AttentionMap
        from freeatten_core.analysis.map import check_whole

        capture = self.get(name).capture
        layer = check_whole("layer", layer, 0, max(capture.layers))
        head = check_whole("head", head, 0, capture.heads - 1)
        key = name, layer, head
        found: AttentionMap | None = self.kept.get(key)
        if found is None:
            with self._builders:
                found = self.kept.get(key) or AttentionMap.of(capture, layer, head)
            self.kept.put(key, found, _map_bytes(found))
        return found

    def id_of(self, asked: Asked) -> str:
        """What an analysis is named by; nobody can guess it who cannot ask for it."""
        said = [asked.checkpoint, asked.text.digest, asked.length, asked.seed]
        return hmac.new(self._key, json.dumps(said).encode(), hashlib.sha256).hexdigest()

    def _run(self, job: Job) -> None:
        try:
            job.advance(0, 1)
            job.state = "running"
            job.analysis = self._analysed(job.asked, job.advance)
            job.share, job.state = 1.0, "done"
        except CancelledError:
            job.state = "cancelled"
        except Exception as error:  # else the thread ends unheard and the page asks for ever
            job.error, job.state = sentence_of(error), "failed"

    def _analysed(self, asked: Asked, advance: Callable[[float, float], None]) -> str:
        from freeatten_core.analysis import capture
        from freeatten_core.devices import choose_device

        name = self.id_of(asked)
        if self.kept.get(name) is None:
            checkpoint = self.models.get(asked.checkpoint)
            advance(0, 1)
            tokens, text = self.texts.tokens(
                asked.text, checkpoint.tokenizer, asked.length, asked.seed
            )
            device = choose_device(self.device)
            found = capture(checkpoint, tokens, device=device, advance=advance)
            self.kept.put(name, Analysis(asked, found, text), _capture_bytes(found))
        return name


def _capture_bytes(capture: Capture) -> int:
    layers = capture.layers.values()
    rows = [tensor for each in layers if each.rows for tensor in vars(each.rows).values()]
    vectors = [tensor for each in layers for tensor in (each.query, each.key)]
    return sum(tensor.nbytes for tensor in [*rows, *vectors, capture.tokens])


def _map_bytes(attention: AttentionMap) -> int:
    import torch

    tensors = [value for value in vars(attention).values() if isinstance(value, torch.Tensor)]
    levels = attention.levels.values()
    return sum(each.nbytes for each in tensors) + sum(each.nbytes for each in levels)
