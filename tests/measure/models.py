"""Measures models of others for docs/models.md: loss, modifiers, heads and copies.

    python tests/measure/models.py --model SmolLM2.gguf --model gemma-3-270m.gguf \
        --books books-heldout --out models --device cuda --limit 500

Folders and GGUF files are named in the results as they are named here, so start it beside them.
Three commands at a time, the most wanted first; each writes OUT/NAME.json when it is whole. What
ends by the limit still gives the rows that are whole by then. What is there is not made again.
Files of OUT belong into assets/results/models, then `freeatten report`.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from freeatten_core.basics.files import write_text

PROGRAM = Path(sys.executable).with_name("freeatten")
LENGTHS = "512,1024,2048,4096,8192,16384"
RESTART = "2048"
OURS = ("softmax", "lssar-p15")
MODIFIERS = ("+yarn", "+yarn:ramp=dims", "+window")
LEAST_SECONDS = 20
"""A command that has less is not begun."""


def commands(given: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """(name, arguments) of every result, the most wanted first."""
    lengths = given.lengths
    compare = ["compare", "--len", lengths, "--restart", given.restart, "--by", "position"]
    all_rows = checkpoints([*given.model, *OURS])
    changed = checkpoints([given.model[0], *(given.model[0] + each for each in MODIFIERS)])
    books = ["--text", given.books]
    yield "code", [*compare, *all_rows, "--texts", "24"]
    yield "books", [*compare, *all_rows, "--texts", "14", *books]
    yield "modified-code", [*compare, *changed, "--texts", "10"]
    yield "modified-books", [*compare, *changed, "--texts", "7", *books]
    longest = lengths.rpartition(",")[2]
    for model in given.model:
        survey = ["entropy", "--checkpoint", model, "--layers", "all", "--by", "length"]
        yield f"heads-{Path(model).stem}", [*survey, "--len", longest, "--texts", "4"]
    yield "copy", ["retrieve", *checkpoints(given.model), "--len", lengths, "--samples", "12"]


def checkpoints(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in ("--checkpoint", name)]


def measure(name: str, arguments: Sequence[str], given: argparse.Namespace, until: float) -> None:
    """Run one command until the limit; what it printed is its result."""
    path = given.out / f"{name}.json"
    left = until - time.monotonic()
    if path.exists() or left < LEAST_SECONDS:
        print(f"{name}: {'there' if path.exists() else 'no time left'}", flush=True)
        return
    command = [str(PROGRAM), *arguments, "--device", given.device, "--quiet", "--json"]
    with (given.out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            printed, _ = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # it gives the rows that are whole
            printed, _ = process.communicate()
    if printed.strip():
        write_text(path, printed)
    print(f"{name}: ended with {process.returncode}, {len(printed):,} characters", flush=True)


def main(asked: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", required=True, help="repeatable")
    parser.add_argument("--books", default="books-heldout", help="folder of held-out books")
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--lengths", default=LENGTHS)
    parser.add_argument("--restart", default=RESTART)
    parser.add_argument("--limit", type=float, default=500, help="seconds in all")
    parser.add_argument("--jobs", type=int, default=3, help="commands at a time")
    given = parser.parse_args(asked)
    given.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + given.limit
    with ThreadPoolExecutor(given.jobs) as pool:
        begun = [pool.submit(measure, *each, given, until) for each in commands(given)]
    for each in begun:
        each.result()


if __name__ == "__main__":
    main()
