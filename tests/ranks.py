"""Programs in several processes that know of each other, as torchrun starts them."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from bounds import LIMIT, started

TESTS = Path(__file__).resolve().parent


def run_ranks(code: str, words: Sequence[object], count: int = 2) -> list[tuple[int, str]]:
    """The exit code and standard error of each of `count` processes that run some Python."""
    port = str(_free_port())
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
PORTS = range(20_000, 32_000)
"""Below those that a system gives to whoever connects: between asking and taking, one of these is
taken by nobody else."""


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port in a hundred")
