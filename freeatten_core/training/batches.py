"""What a step trains on, drawn ahead of it."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.shards import WHOLE, Shard
from freeatten_core.data.prepared import Corpus, window_offsets, window_starts

from .recipe import Recipe

__all__ = ["DRAWN_AHEAD", "BatchSource", "Batches", "check_shares"]

DRAWN_AHEAD = 256
"""Steps whose windows are drawn at once: a copy to the GPU every step waits for the step before."""


class BatchSource(Protocol):
    """What a model is trained on; the order depends on the seed and the step alone.

    A source of one shard draws what the whole draws, and gives its part of every batch.
    """

    def training(self, step: int) -> Tensor:
        """What is drawn for one step."""

    def validation(self) -> list[Tensor]:
        """The same every time, in batches of the training size."""

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and targets, (batch, train_length) each; targets of UNSCORED do not count."""


class Batches:
    """Training and validation windows; every batch takes equal shares of the sources."""

    def __init__(
        self, corpus: Corpus, recipe: Recipe, device: torch.device, shard: Shard = WHOLE
    ) -> None:
        self._recipe, self._device = recipe, device
        self._ahead, self._starts = -1, list[Tensor]()
        size = recipe.train_length + 1
        self._train = [_Pool(s.name, s.tokens, s.lengths, size, device) for s in corpus.sources]
        self._validation = [
            _Pool(
                f"{s.name}'s validation part",
                s.validation_tokens,
                s.validation_lengths,
                size,
                device,
            )
            for s in corpus.sources
        ]
        check_shares(recipe.batch, len(self._train), shard, recipe.parts)
        self._share = recipe.batch // len(self._train)
        self._part = shard.part(self._share)

    def training(self, step: int) -> Tensor:
        """The shard's windows of one step, int64 (batch / shards, train_length + 1)."""
        ahead = step // DRAWN_AHEAD
        if ahead != self._ahead:
            keys = [(self._recipe.seed, ahead * DRAWN_AHEAD + i) for i in range(DRAWN_AHEAD)]
            self._starts = [
                torch.stack([self._drawn(pool, key) for key in keys]).to(self._device)
                for pool in self._train
            ]
            self._ahead = ahead
        at = step % DRAWN_AHEAD
        return torch.cat(
            [
                pool.windows(starts[at])
                for pool, starts in zip(self._train, self._starts, strict=True)
            ]
        )

    def validation(self) -> list[Tensor]:
        """The same windows every time, in batches of the training size."""
        count = math.ceil(self._recipe.validation_windows / self._recipe.batch)
        return [
            torch.cat([pool.windows(self._drawn(pool, (index,))) for pool in self._validation])
            for index in range(count)
        ]

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Every token's target is the next."""
        return drawn[:, :-1], drawn[:, 1:]

    def _drawn(self, pool: _Pool, key: tuple[int, ...]) -> Tensor:
        """The shard's starts among those that the key draws for the whole batch."""
        return pool.starts(key, self._share)[self._part]


def check_shares(batch: int, sources: int, shard: Shard, parts: int = 1) -> None:
    """Whether a batch falls into equal shares, so that a mean of shares is that of the batch.

    Args:
        parts: in which a shard is computed.

    Raises:
        UsageError: it does not.
    """
    if batch % sources:
        raise UsageError(
            f"batch is {batch}; it must be a multiple of the {sources} text sources, which take "
            "equal shares"
        )
    if batch % (sources * shard.of):
        raise UsageError(
            f"batch is {batch}; it must be a multiple of {sources * shard.of}: {shard.of} shards "
            "take equal shares of every source"
        )
    if batch % (shard.of * parts):
        raise UsageError(
            f"batch is {batch}; it must be a multiple of {shard.of * parts}: {shard.of} shards are "
            f"computed in {parts} equal parts"
        )


class _Pool:
    """Tokens of one source on the device, and where windows in it can start."""

    def __init__(
        self,
        name: str,
        tokens: np.ndarray[Any, np.dtype[np.uint16]],
        lengths: np.ndarray[Any, np.dtype[np.int64]],
        size: int,
        device: torch.device,
    ) -> None:
        self._lengths, self._size = lengths, size
        self._running, self._count = window_starts(lengths, size)
        if self._count == 0:
            raise UsageError(
                f"no file of {name} is {size} tokens long; give longer texts or a shorter length"
            )
        self._tokens = torch.from_numpy(tokens.astype(np.int32)).to(device)
        self._window = torch.arange(size, device=device)

    def starts(self, key: tuple[int, ...], count: int) -> Tensor:
        """`count` positions drawn with the key alone, (count,), on the CPU."""
        drawn = np.random.default_rng(key).integers(0, self._count, size=count)
        return torch.from_numpy(window_offsets(self._lengths, self._running, drawn))

    def windows(self, starts: Tensor) -> Tensor:
        index = starts.to(self._window.device)[:, None] + self._window
        return self._tokens[index].long()
