"""A command in several processes, one a GPU, by torchrun."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from freeatten_core.basics.errors import FAILURE, SIGNALLED

if TYPE_CHECKING:
    import torch

    from freeatten_core.basics.distributed import Ranks

__all__ = ["joined", "start_ranks"]

OPTION = "--gpus"


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """This process as one of those that torchrun started, if it did, and what it computes on.

    Args:
        device: as asked for.

    Raises:
        UsageError: there is no such device, fewer GPUs than ranks, or nothing that joins them.
        SystemExit, ContentError: as `joined_ranks`.
    """
    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.distributed import joined_ranks, rank_device, started_ranks

    ranks = started_ranks()
    chosen = rank_device(ranks, choose_device(device))
    with joined_ranks(ranks, chosen):
        yield ranks, chosen


def start_ranks(count: int, device: str) -> None:
    """Run this call again in so many processes, and exit as the first of them that fails.

    Each says what there is to say; of a process that was killed nobody else would.

    Args:
        device: as asked for.

    Raises:
        UsageError: torchrun started this process already, or there are not as many GPUs.
        SystemExit: a process failed.
    """
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from freeatten_core.basics.devices import choose_device
    from freeatten_core.basics.distributed import check_gpus, started_ranks
    from freeatten_core.basics.errors import UsageError

    if started_ranks().count > 1:
        raise UsageError(f"torchrun has started the processes already; leave out {OPTION}")
    check_gpus(count, choose_device(device))  # or each of them would say it
    # its own account of a failure is a page that does not have the sentence
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="freeatten",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    words = ["-m", "freeatten_cli", *_without_option(sys.argv[1:])]
    try:
        elastic_launch(config, sys.executable)(*words)
    except SignalException as stopped:
        raise SystemExit(SIGNALLED + stopped.sigval) from None
    except ChildFailedError as error:
        # a process that ends because another did ends with FAILURE, at times the first to be seen
        first = min(
            error.failures.values(),
            key=lambda failure: (failure.exitcode <= FAILURE, failure.timestamp),
        )
        killed = first.exitcode < 0
        if killed:
            name = signal.Signals(-first.exitcode).name
            print(f"a process was ended by {name}", file=sys.stderr)
        raise SystemExit(FAILURE if killed else first.exitcode) from None


def _without_option(words: list[str]) -> list[str]:
    """The arguments of this call for each of its processes."""
    kept, skip = [], False
    for word in words:
        if not skip and word != OPTION and not word.startswith(f"{OPTION}="):
            kept.append(word)
        skip = word == OPTION
    return kept
