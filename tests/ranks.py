"""Programs in several processes that know of each other, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bounds import LIMIT, started

TESTS = Path(__file__).resolve().parent


def run_ranks(code: str, words: Sequence[object], count: int = 2) -> list[tuple[int, str]]:
    """The exit code and standard error of each of `count` processes that run some Python."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                started(
                    [sys.executable, "-c", code, *map(str, words)],
                    stderr=subprocess.PIPE,
                    text=True,
                    env={
                        **os.environ,
                        "RANK": str(rank),
                        "LOCAL_RANK": str(rank),
                        "WORLD_SIZE": str(count),
                        "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": port,
                        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), CORE_TESTS]),
                    },
                )
            )
            for rank in range(count)
        ]
        said = [process.communicate(timeout=LIMIT)[1] for process in processes]
    return [(process.returncode, each) for process, each in zip(processes, said, strict=True)]


CORE_TESTS = str(TESTS / "core")
