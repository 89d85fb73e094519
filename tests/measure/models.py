"""Measures models of others for docs/models.md: loss, modifiers, heads, what is undone and copies.

    python tests/measure/models.py --model SmolLM2.gguf --model gemma-3-270m.gguf \
        --books books-heldout --out models --device cuda --limit 500

Folders and GGUF files are named in the results as they are named here, so start it beside them.
Three commands at a time, the most wanted first; each writes OUT/NAME.json when it is whole, and
what it told on the way to OUT/NAME.log. What ends by the limit still gives the rows that are whole
by then. What is there is not made again. `--only NAME` makes one result, so that several GPUs can
share the work; `--list` names them. Modifiers, and what is undone, are of the first model.
Files of OUT belong into assets/results/models, then `freeatten report`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from freeatten_core.basics.files import write_text
from freeatten_core.results.verdicts import as_stored

LENGTHS = "512,1024,2048,4096,8192,16384"
RESTART = 2048
OURS = ("softmax", "lssar-p15")
MODIFIERS = ("+yarn", "+yarn:ramp=dims", "+window")
LEAST_SECONDS = 20
"""A command that has less is not begun."""


def commands(given: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """(name, arguments) of every result, the most wanted first."""
    lengths = [int(length) for length in given.lengths.split(",")]
    beyond = [length for length in lengths if length >= given.restart]
    first, longest = given.model[0], ["--len", str(lengths[-1])]
    compare = ["compare", "--restart", str(given.restart), "--by", "position"]
    all_rows = [*compare, *listed(lengths), *checkpoints([*given.model, *OURS])]
    changed = [*compare, *listed(beyond), *checkpoints([first + each for each in ("", *MODIFIERS)])]
    books = ["--text", given.books]
    yield "code", [*all_rows, *texts(given, 10)]
    yield "books", [*all_rows, *texts(given, 10), *books]
    for model in given.model:
        survey = ["entropy", *checkpoints([model]), "--layers", "all", "--by", "length"]
        yield f"heads-{short(model)}", [*survey, *longest, *texts(given, 2)]
    yield "modified-code", [*changed, *texts(given, 5)]
    yield "modified-books", [*changed, *texts(given, 5), *books]
    undone = ["ablate", *checkpoints([first]), "--no-heads", *longest]
    yield "undone", [*undone, *texts(given, 4)]
    copied = ["retrieve", *checkpoints(given.model), *listed(lengths)]
    yield "copy", [*copied, "--samples", str(min(6, given.texts))]


def checkpoints(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in ("--checkpoint", name)]


def listed(lengths: Sequence[int]) -> list[str]:
    return ["--len", ",".join(map(str, lengths))]


def texts(given: argparse.Namespace, most: int) -> list[str]:
    return ["--texts", str(min(most, given.texts))]


def short(model: str) -> str:
    """`smollm2` of `folder/SmolLM2-135M-Instruct.Q4_1.gguf`."""
    return Path(model).stem.split("-")[0].lower()


def program() -> str:
    """The command beside this Python, or else on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("freeatten", path=path)
    if found is None:
        raise SystemExit("no command freeatten beside this Python or on the path")
    return found


def measure(name: str, arguments: Sequence[str], given: argparse.Namespace, until: float) -> None:
    """Run one command until the limit; what it printed is its result."""
    path = given.out / f"{name}.json"
    left = until - time.monotonic()
    if path.exists() or left < LEAST_SECONDS:
        print(f"{name}: {'there' if path.exists() else 'no time left'}", flush=True)
        return
    began = time.monotonic()
    command = [program(), *arguments, "--device", given.device, "--quiet", "--json"]
    with (given.out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            printed, _ = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # it gives the rows that are whole
            printed, _ = process.communicate()
    if printed.strip():
        write_text(path, slim_result(printed))
    seconds = time.monotonic() - began
    told = f"{process.returncode}, {len(printed):,} characters, {seconds:.0f} s"
    print(f"{name}: ended with {told}", flush=True)


def slim_result(printed: str) -> str:
    """What is stored of a result: of single heads what a table takes."""
    result = json.loads(printed)
    return json.dumps(as_stored(result), separators=(",", ":")) + "\n"


def main(asked: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", required=True, help="repeatable")
    parser.add_argument("--books", default="books-heldout", help="folder of held-out books")
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--lengths", default=LENGTHS, help="ascending; one of them the restart")
    parser.add_argument("--restart", type=int, default=RESTART)
    parser.add_argument("--texts", type=int, default=100, help="of a command at most")
    parser.add_argument("--limit", type=float, default=500, help="seconds in all")
    parser.add_argument("--jobs", type=int, default=3, help="commands at a time")
    parser.add_argument("--only", action="append", help="a result by its name; repeatable")
    parser.add_argument("--list", action="store_true", help="name the results and end")
    given = parser.parse_args(asked)
    wanted = dict(commands(given))
    if given.list:
        print("\n".join(wanted))
        return
    unknown = {*(given.only or ())} - {*wanted}
    if unknown:
        parser.error(f"--only is {min(unknown)!r}; it must be one of {', '.join(wanted)}")
    given.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + given.limit
    with ThreadPoolExecutor(given.jobs) as pool:
        begun = [
            pool.submit(measure, name, arguments, given, until)
            for name, arguments in wanted.items()
            if name in (given.only or wanted)
        ]
    for each in begun:
        each.result()


if __name__ == "__main__":
    main()
