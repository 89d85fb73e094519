"""Analyses of one server: a model over a text, made in the background and kept in bounds.

A page asks for one, is told how far it is, and later names it by an id that only those get who
asked for the same thing: it is a keyed digest of the whole request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from .answers import Answer, GoneError, text_of
from .cache import BoundedCache
from .jobs import AT_ONCE, Advance, Jobs
from .models import SOURCE_CHARACTERS, Models
from .texts import Texts, TextSource

if TYPE_CHECKING:
    from torch import Tensor

    from freeatten_core.analysis import AttentionMap, Capture, Thumbnails
    from freeatten_core.models.config import LayerShape
    from freeatten_core.models.rows import CausalRow, Row

__all__ = [
    "ALL_LAYERS",
    "ID_CHARACTERS",
    "LONGEST",
    "MOST_SEED",
    "Analyses",
    "Analysis",
    "Asked",
    "attention",
    "checked_head",
    "looked_into",
]

LONGEST, SHORTEST = 32_768, 2
ALL_LAYERS = "all"
MOST_SEED = 1_000_000
KEPT_ENTRIES, KEPT_BYTES = 256, 1_500_000_000
ID_CHARACTERS = 100
MOST_LAYERS = 1 << 20
BUILT_AT_ONCE = 8192
"""Tokens of the longest text whose maps are made with their far view, in a third of a second."""


@dataclass(frozen=True)
class Asked:
    """What an analysis is of."""

    checkpoint: str
    """With modifiers, as in `softmax+yarn`."""
    text: TextSource
    length: int
    seed: int
    layers: int | str | None = None
    """Of a model of others: one, `ALL_LAYERS`, or None for the one that is looked into unasked.
    Of a model of this project all are kept whatever is asked."""


@dataclass(frozen=True)
class Analysis:
    """A capture, and what the page says about it."""

    asked: Asked
    capture: Capture
    text: str
    """The name of the text that was drawn."""
    layers: Mapping[int, LayerShape]
    """All that have attention, those that were not kept too."""
    windows: Mapping[int, int | None]
    """By layer: of those that were kept as its mask has it, of others as the model declares it."""

    def facts(self) -> Answer:
        """What the page is told of it."""
        return {
            "variant": self.capture.label,
            "length": self.capture.length,
            "trained": self.capture.train_length,
            "declared": self.capture.declared_length,
            "windows": {str(layer): each.window for layer, each in self.capture.layers.items()},
            "layers": list(self.capture.layers),
            "attention": attention(self.layers, self.windows),
            "heads": self.capture.heads,
            "text": self.text,
            "tokenizer": self.capture.tokenizer_id,
        }


class Analyses:
    """What one server has: its models and texts, its jobs, and the captures and maps it keeps."""

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
        self.jobs = Jobs()
        self._key = secrets.token_bytes(32)
        self._builders = Semaphore(AT_ONCE)
        self._locking = Lock()
        self._locks: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Ends what is running."""
        self.jobs.close()

    def asked(
        self, checkpoint: Any, text: Any, length: Any, seed: Any, layers: Any = None
    ) -> Asked:
        """A request, checked.

        Raises:
            UsageError: a sentence about what is wrong with it.
        """
        from freeatten_core.basics.checks import check_whole

        if layers is not None and layers != ALL_LAYERS:
            layers = check_whole("the layer", layers, 0, MOST_LAYERS)
        return Asked(
            checkpoint=text_of("the checkpoint", checkpoint, SOURCE_CHARACTERS).strip(),
            text=TextSource.of(text, self.texts.kinds()),
            length=check_whole("length", length, SHORTEST, LONGEST),
            seed=check_whole("seed", seed, 0, MOST_SEED),
            layers=layers,
        )

    def start(self, asked: Asked) -> str:
        """Begins an analysis; the name of its job.

        Raises:
            UsageError: too many are waiting.
        """
        return self.jobs.start("analysis", lambda advance: self._analysed(asked, advance))

    def get(self, name: Any) -> Analysis:
        """An analysis by its id.

        Raises:
            GoneError: it is not kept.
        """
        found = self.kept.get(text_of("the analysis", name, ID_CHARACTERS))
        if not isinstance(found, Analysis):
            raise GoneError
        return found

    def map(self, name: Any, layer: Any, head: Any, *, far_view: bool = True) -> AttentionMap:
        """The zoomable map of a head of an analysis; of a long text without its far view if that
        is not needed.

        Raises:
            GoneError: the analysis is not kept.
            UsageError: it has no such head.
        """
        from freeatten_core.analysis import AttentionMap

        capture = self.get(name).capture
        layer, head = checked_head(capture, layer, head)
        key = name, layer, head
        found: AttentionMap | None = self.kept.get(key)
        if found is None:
            is_short = capture.length <= BUILT_AT_ONCE
            with self._lock_of(key), self._builders if is_short else nullcontext():
                found = self.kept.get(key)
                if found is None:
                    found = AttentionMap.of(capture, layer, head, far_view=is_short)
                    self.kept.put(key, found, _map_bytes(found))
        if far_view and not found.has_far_view:
            with self._builders:
                found.make_far_view(lambda _: None)
        return found

    def thumbnails(self, name: Any) -> Thumbnails:
        """Small pictures of all heads of an analysis.

        Raises:
            GoneError: the analysis is not kept.
        """
        from freeatten_core.analysis import thumbnails

        capture = self.get(name).capture
        key = name, "thumbnails"
        found: Thumbnails | None = self.kept.get(key)
        if found is None:
            with self._lock_of(key), self._builders:
                found = self.kept.get(key)
                if found is None:
                    found = thumbnails(capture)
                    self.kept.put(key, found, sum(codes.nbytes for codes in found.codes.values()))
        return found

    def _lock_of(self, key: Hashable) -> Lock:
        """Who has it makes what is kept by the key; others wait and find it."""
        with self._locking:
            return self._locks.setdefault(key, Lock())

    def id_of(self, *said: Any) -> str:
        """What something is named by; nobody can guess it who cannot ask for the same.

        From elsewhere one cannot: what was made for this machine's own visitor names its folders.
        """
        asked = json.dumps([self.models.local, *said]).encode()
        return hmac.new(self._key, asked, hashlib.sha256).hexdigest()

    def capture(
        self, row: Row | CausalRow, tokens: Tensor, layers: Sequence[int] | None, advance: Advance
    ) -> Capture:
        """A pass of a model over a text, on this server's device.

        Args:
            layers: that are kept; None for all.
        """
        from freeatten_core.analysis import capture
        from freeatten_core.basics.devices import choose_device

        return capture(
            row.model,
            tokens,
            variant=row.variant,
            layers=layers,
            device=choose_device(self.device),
            advance=advance,
        )

    def _analysed(self, asked: Asked, advance: Advance) -> Answer:
        name = self.id_of(
            asked.checkpoint, asked.text.digest, asked.length, asked.seed, asked.layers
        )
        found = self.kept.get(name)
        if found is None:
            row = self.models.row(asked.checkpoint)
            advance(0, 1)
            tokens, text = self.texts.tokens(asked.text, row.tokenizer, asked.length, asked.seed)
            made = self.capture(row, tokens, self._chosen(row, asked.layers), advance)
            found = Analysis(asked, made, text, row.model.layers, self._windows(made, asked))
            self.kept.put(name, found, _capture_bytes(made))
        return {"id": name, **found.facts()}

    def _chosen(self, row: Row | CausalRow, asked: int | str | None) -> list[int] | None:
        """The layers that an analysis keeps; None for all."""
        if row.model.train_length is not None or asked == ALL_LAYERS:
            return None
        return [looked_into(row.model.layers) if asked is None else int(asked)]

    def _windows(self, made: Capture, asked: Asked) -> Mapping[int, int | None]:
        described = self.models.described(asked.checkpoint) if made.train_length is None else None
        declared = dict(described.windows) if described else {}
        return declared | {layer: each.window for layer, each in made.layers.items()}


def attention(layers: Mapping[int, LayerShape], windows: Mapping[int, int | None]) -> list[Answer]:
    """What the page shows of every layer with attention."""
    return [
        {
            "layer": layer,
            "heads": shape.heads,
            "keys": shape.kv_heads,
            "window": windows.get(layer),
        }
        for layer, shape in layers.items()
    ]


def looked_into(layers: Iterable[int]) -> int:
    """The layer of a model of others that is looked into unasked: the third with attention."""
    return sorted(layers)[:3][-1]


def checked_head(capture: Capture, layer: Any, head: Any) -> tuple[int, int]:
    """A layer and a head of a capture.

    Raises:
        UsageError: it has no such head.
    """
    from freeatten_core.basics.checks import check_whole

    return (
        check_whole("layer", layer, 0, max(capture.layers)),
        check_whole("head", head, 0, capture.heads - 1),
    )


def _capture_bytes(capture: Capture) -> int:
    layers = capture.layers.values()
    rows = [tensor for each in layers if each.rows for tensor in vars(each.rows).values()]
    vectors = [tensor for each in layers for tensor in (each.query, each.key)]
    return sum(tensor.nbytes for tensor in [*rows, *vectors, capture.tokens])


def _map_bytes(attention: AttentionMap) -> int:
    import torch

    tensors = [value for value in vars(attention).values() if isinstance(value, torch.Tensor)]
    return sum(each.nbytes for each in tensors) + attention.far_view_bytes
