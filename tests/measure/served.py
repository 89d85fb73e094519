"""What the measurements of the browser app share: a server of its own, its pages, JSON and tables.

They need the project installed with its test extra (`freeatten-viz` beside this Python) and
Chromium, and run by command, not with the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
"""Chromium, and what a page is asked."""

PROGRAM = Path(sys.executable).with_name("freeatten-viz")
START_LIMIT = 60
WIDE = {"width": 1280, "height": 800}
READY = 900
"""Seconds for an analysis of 32k tokens on a busy machine."""
DRAWN = """window.freeatten?.page?.panels.length && freeatten.page.root.dataset.settled === "true"
    && document.getElementById("map-command").textContent"""
"""The tab Map shows what its link says."""
PICTURED = f"""{DRAWN} && [...document.querySelectorAll(".site-head canvas")]
    .every((one) => one.width === one.height)"""
"""And small pictures of all heads, which are 300 × 150 before."""
CLOSEST = 4
UNPROTECTED = ["--disable-ipc-flooding-protection"]
"""Without this option of Playwright's a page is throttled as it would be for its users."""


class Server:
    """A server in a process of its own, from its start to its end."""

    def __init__(self, command: Sequence[str] = (str(PROGRAM), "serve", "--no-browser")) -> None:
        """Args: command: what takes `--port` and serves the app."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        self._folder = tempfile.TemporaryDirectory()
        self._out, self._log = (Path(self._folder.name) / name for name in ("out", "log"))
        self._begun = time.perf_counter()
        with self._out.open("w") as out, self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(port)], stdout=out, stderr=log
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._folder.cleanup()

    def seconds(self) -> float:
        """Since the command."""
        return time.perf_counter() - self._begun

    def first_answer(self) -> float:
        """Seconds from the command to the page's first answer."""
        while True:
            try:
                with urlopen(self.address, timeout=START_LIMIT) as answer:
                    answer.read()
                return self.seconds()
            except URLError:
                if self._process.poll() is not None or self.seconds() > START_LIMIT:
                    raise SystemExit(f"the server did not start: {self.log()}") from None
                time.sleep(0.01)  # another process: nothing but its port says that it listens

    def log(self) -> str:
        """What it has written to standard error."""
        return self._log.read_text()

    def lines(self) -> list[str]:
        """What it has written to standard output."""
        return self._out.read_text().splitlines()


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium, as the browser tests start it."""
    from chromium import ARGUMENTS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium(), args=ARGUMENTS, ignore_default_args=UNPROTECTED
        )
        yield found
        found.close()


def chromium() -> str:
    """Where Chromium is."""
    from chromium import installed

    path = installed()
    if path is None:
        raise SystemExit("no Chromium: on Debian, apt-get install chromium")
    return path


def looking(models: Sequence[str], length: int, seed: int = 0) -> str:
    """The part of a link that says what is looked into: shipped models, the standard library."""
    return f"models={','.join(models)}&text=stdlib&len={length}&seed={seed}"


def view(rng: random.Random, length: int) -> dict[str, float]:
    """A square at or below the diagonal, of any size: nothing that was loaded before helps."""
    span = CLOSEST * (length / CLOSEST) ** rng.random()
    query = rng.random() * (length - span)
    return {"query": query, "key": rng.random() * query, "span": span}


# Results


def options(about: str) -> argparse.ArgumentParser:
    """Those that every measurement has."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result there")
    return parser


def tell(text: str) -> None:
    """How far a measurement is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def row(
    what: str, unit: str, values: Sequence[float], goal: tuple[str, float] | None = None
) -> dict[str, Any]:
    """Args: goal: which of `median`, `p95` and `largest` is to be how much at most."""
    ordered = sorted(values)
    return {
        "what": what,
        "unit": unit,
        "count": len(values),
        "median": statistics.median(ordered),
        "p95": ordered[-(-95 * len(ordered) // 100) - 1],
        "largest": ordered[-1],
        "goal": None if goal is None else {"of": goal[0], "most": goal[1]},
    }


def run(measure: str, work: Callable[[], dict[str, Any]], path: Path | None) -> None:
    """Measures, prints the tables, and writes the JSON."""
    import torch

    from freeatten_core.basics.files import check_writable, write_text
    from freeatten_core.results import app_speed
    from freeatten_core.results.facts import run_facts

    if path is not None:
        check_writable(path)
    load, begun = os.getloadavg()[0], time.perf_counter()
    found = work()
    command = shlex.join(["python", *sys.argv])
    facts = run_facts(torch.device("cpu"), command, time.perf_counter() - begun)
    facts["versions"] |= _versions()
    result = {"measure": measure, **machine(), "load_before": round(load, 2), **facts, **found}
    if path is not None:
        write_text(path, json.dumps(result, separators=(",", ":")) + "\n")
    for text in app_speed.app_speed_blocks(measure, result).values():
        print(text, end="\n\n")


def run_repeated(
    about: str, measure: str, measured: Callable[[int], dict[str, Any]], times: int
) -> None:
    """A program that measures so many times, unless its command line says how often."""
    parser = options(about)
    parser.add_argument("--repeat", type=int, default=times)
    given = parser.parse_args()
    run(measure, lambda: measured(given.repeat), given.json)


def machine() -> dict[str, Any]:
    """What it ran on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
    }


def _versions() -> dict[str, str]:
    said = subprocess.run([chromium(), "--version"], capture_output=True, text=True, check=True)
    return {
        "gradio": metadata.version("gradio"),
        "playwright": metadata.version("playwright"),
        "chromium": said.stdout.split()[1],
    }
