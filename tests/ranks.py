"""Programs in several processes that know of each other, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bounds import LIMIT

TESTS = Path(__file__).resolve().parent
PATHS = [str(TESTS.parent), str(TESTS), str(TESTS / "core")]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["freeatten_core.training.run", "torch._dynamo", "torch.distributed.fsdp"]
)
"""Loaded once: torch in each of the processes would be half of what they compute."""


def run_ranks(code: str, words: Sequence[object], count: int = 2) -> list[tuple[int | None, str]]:
    """The exit code and standard error of each of `count` processes that run some Python."""
    from torch.distributed import TCPStore

    # held by none of them, as torchrun's: whichever ends first, the others can still ask it
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    with TemporaryDirectory() as folder:
        said = [Path(folder, str(rank)) for rank in range(count)]
        processes = [
            PROCESSES.Process(
                target=_run,
                args=(
                    code,
                    [str(word) for word in words],
                    shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    said[rank],
                ),
            )
            for rank in range(count)
        ]
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.join(LIMIT)
            codes = [process.exitcode for process in processes]
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
        return [(code, each.read_text()) for code, each in zip(codes, said, strict=True)]


def _run(code: str, words: Sequence[str], environment: Mapping[str, str], said: Path) -> None:
    """What a process of `python -c` does."""
    with said.open("w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    sys.argv = ["-c", *words]
    sys.path[:0] = PATHS
    exec(compile(code, "<rank>", "exec"), {"__name__": "__main__"})
