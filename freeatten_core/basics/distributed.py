"""Several processes that compute one thing together, as torchrun starts them.

A process that was not started so is the only one, and nothing here costs it anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import FAILURE, ContentError, UsageError, sentence_and_code
from .kept import differences
from .shards import Shard

__all__ = [
    "ALONE",
    "Ranks",
    "check_gpus",
    "joined_ranks",
    "lost_rank",
    "rank_device",
    "started_ranks",
]

T = TypeVar("T")

WAIT_SECONDS = 600
"""For the others at one place; one rank alone may prepare the texts of all meanwhile."""
TOLD = "freeatten-told"
"""A key of the ranks' common store: how many have a failure to tell."""


@dataclass(frozen=True)
class Ranks:
    """The processes that compute one thing together, and which of them this is."""

    index: int = 0
    count: int = 1
    local: int = 0
    """Its number on its machine."""

    @property
    def shard(self) -> Shard:
        """Its part of what is done together."""
        return Shard(self.index, self.count)

    @property
    def writes(self) -> bool:
        """Whether it is the one that prints and makes files."""
        return self.index == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """Of a tensor that each has, on all of them alike."""
        if self.count == 1:
            return value
        summed = value.detach().clone()
        torch.distributed.all_reduce(summed)
        return summed / self.count

    def gathered(self, value: Any) -> list[Any]:
        """What each has, in their order, on all of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def shared(self, work: Callable[[Shard], T]) -> list[T]:
        """Of each rank what it makes of its shard, on all of them; if one fails, all do.

        Raises:
            Exception: what the first of those that failed has raised.
        """
        if self.count == 1:
            return [work(self.shard)]
        made: tuple[T | None, Exception | None]
        try:
            made = work(self.shard), None
        except Exception as error:  # of any type: raised below on every rank, or all would wait
            made = None, error
        found = self.gathered(made)
        failures = [failure for _, failure in found if failure is not None]
        if failures:
            raise failures[0]
        return [value for value, _ in found]

    def check_enough(self, count: int, things: str, option: str) -> None:
        """Whether each has something to do.

        Args:
            count: how many there are of `things`, which are shared out.
            option: which asks for more of them.

        Raises:
            UsageError: there are fewer than ranks.
        """
        if count < self.count:
            raise UsageError(
                f"{self.count} ranks need {self.count} {things} or more, not {count}; ask for more "
                f"({option}), or start fewer ranks"
            )

    def check_agree(self, value: Mapping[str, Any]) -> None:
        """Whether all were asked for the same.

        Args:
            value: JSON.

        Raises:
            UsageError: on all of them; it names the first rank that differs, and in what.
        """
        first, *others = self.gathered(value)
        for rank, other in enumerate(others, start=1):
            words = f"{{}} is {{}} on rank 0 and {{}} on rank {rank}"
            differing = differences(first, other, words)
            if differing:
                raise UsageError(f"the ranks were asked for different things: {differing}")


ALONE = Ranks()


def started_ranks() -> Ranks:
    """The ranks that torchrun started, by its variables; none of them need be there.

    Raises:
        UsageError: a variable is no number.
    """
    index, count, local = (
        _variable(name, default)
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    return Ranks(index, count, local) if count > 1 else ALONE


def rank_device(ranks: Ranks, device: torch.device) -> torch.device:
    """The rank's own GPU, where the device is a GPU.

    Raises:
        UsageError: its machine has fewer GPUs than ranks, or this torch cannot join them.
    """
    if ranks.count == 1 or device.type != "cuda":
        return device
    _check_nccl()
    found = torch.cuda.device_count()
    if ranks.local >= found:
        raise UsageError(
            f"rank {ranks.index} is number {ranks.local} on its machine, which has {found} GPUs; "
            "start as many ranks as there are GPUs"
        )
    torch.cuda.set_device(ranks.local)
    return torch.device("cuda", ranks.local)


def check_gpus(count: int, device: torch.device) -> None:
    """Whether so many ranks can be started on this machine, each on a GPU if the device is one.

    Raises:
        UsageError: there are fewer GPUs, or this torch cannot join them.
    """
    if count == 1 or device.type != "cuda":
        return
    _check_nccl()
    found = torch.cuda.device_count()
    if count > found:
        raise UsageError(
            f"--gpus is {count}, and torch sees {found} here; ask for {found} at most, or use "
            "--device cpu"
        )


def _check_nccl() -> None:
    if not torch.distributed.is_nccl_available():
        raise UsageError("this torch has no NCCL, which joins GPUs; use --device cpu")


@contextmanager
def joined_ranks(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Within, the ranks can speak to each other. Of a failure the first that meets it tells.

    Raises:
        SystemExit: this rank failed, and another has told why.
        ContentError: another rank is gone.
    """
    if ranks.count == 1:
        yield
        return
    from datetime import timedelta

    from torch.distributed.rendezvous import rendezvous

    if not torch.distributed.is_available():
        raise UsageError("this torch was built without torch.distributed; start one process")
    waiting = timedelta(seconds=WAIT_SECONDS)
    store, *_ = next(iter(rendezvous("env://", timeout=waiting)))
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=ranks.index,
        world_size=ranks.count,
        timeout=waiting,
    )
    try:
        yield
        ranks.wait()
    except (Exception, KeyboardInterrupt) as error:
        if sentence_and_code(error) is None and not lost_rank(error):
            raise
        if not _tells(store):
            raise SystemExit(FAILURE) from error
        raise _as_told(ranks, error) from error
    torch.distributed.destroy_process_group()


def lost_rank(error: BaseException) -> bool:
    """Whether an error says that another rank is gone; gloo's has no type of its own."""
    is_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return is_gloo or isinstance(error, torch.distributed.DistError)


def _as_told(ranks: Ranks, error: BaseException) -> BaseException:
    """With the number of the rank, where it is not the one that always speaks."""
    if lost_rank(error):
        return ContentError("another of the ranks has ended")
    if ranks.writes or not isinstance(error, UsageError | ContentError):
        return error
    return type(error)(f"rank {ranks.index}: {error}")


def _tells(store: Any) -> bool:
    """Whether this rank is the first with a failure; without a store nobody knows."""
    try:
        return int(store.add(TOLD, 1)) == 1
    except RuntimeError:  # whoever held the store is gone
        return True


def _variable(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise UsageError(f"the variable {name} is {value!r}; torchrun sets it to a number")
    return int(value)
