"""Trains and scores the ablation cube of docs/softplus.md, cell by cell, and joins the result.

    python tests/measure/cube.py --out cube --text packages --text books --books held-out

What the folder has already is not made again, so a run that was stopped goes on. On a GPU several
cells at a time (`--jobs 4`) keep it busy while others compile. `--cells` names some, `--list` shows
all. Written last: OUT/runs.json, which belongs into assets/results/cube.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from freeatten_core.basics.files import write_text
from freeatten_core.results.cube import PARTS, joined
from freeatten_core.results.shared import shared_runs
from freeatten_core.training.cube import Cell, cells

PROGRAM = shutil.which("freeatten", path=Path(sys.executable).parent) or "freeatten"
"""The one of the Python that runs this, or another on the path."""
LENGTHS = "512,1024,2048,4096,8192"
LAST_LINES = 50
"""Of what a command says, kept for whoever asks why it failed."""
COPY_LENGTHS = f"256,{LENGTHS}"


def make(cell: Cell, given: argparse.Namespace, parts: Sequence[str] = PARTS) -> None:
    """Train a cell, unless it is there, and make what is missing of some of its results."""
    train(cell, given)
    lengths = ",".join(length for length in LENGTHS.split(",") if int(length) >= cell.train_length)
    score(cell, given, parts, lengths)


def train(cell: Cell, given: argparse.Namespace, options: Sequence[str] = ()) -> None:
    """Train a cell, unless it is there, with further options of `freeatten train`."""
    folder = given.out / cell.name
    corpus = ["--corpus", str(given.out / "corpus")]
    texts = [part for text in given.text for part in ("--text", text)]
    if not folder.exists():
        freeatten("train", *cell.options, *texts, *corpus, *options, "--out", str(folder))


def score(
    cell: Cell,
    given: argparse.Namespace,
    parts: Sequence[str],
    lengths: str,
    beside: Sequence[Cell] = (),
) -> None:
    """Make what is missing of some of a cell's results, whose first row it is.

    Args:
        beside: cells that are scored with it, on the same texts.
    """
    folders = [str(given.out / each.name) for each in (cell, *beside)]
    scored = [part for folder in folders for part in ("--checkpoint", folder)]
    wanted = {
        "code": ["compare", "--len", lengths, "--texts", "24"],
        "books": ["compare", "--len", lengths, "--texts", "100", "--text", given.books],
        "copy": ["retrieve", "--len", COPY_LENGTHS, "--block", "64", "--samples", "32"],
    }
    for part in parts:
        path, command = result_path(given.out, cell, part), wanted[part]
        if not path.exists():
            write_text(path, freeatten(*command, *scored, "--json"))
    print(cell.name, flush=True)


def freeatten(*arguments: str) -> str:
    """What a command prints; what it says on standard error is passed on as it comes.

    Raises:
        subprocess.CalledProcessError: it failed; `stderr` has the last lines of that.
    """
    said: deque[str] = deque(maxlen=LAST_LINES)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [PROGRAM, *arguments], stdout=printed, stderr=subprocess.PIPE, encoding="utf-8",
            errors="backslashreplace",
        )  # fmt: skip
        with process:
            for line in process.stderr or ():
                sys.stderr.write(line)
                said.append(line)
        if process.returncode:
            raise subprocess.CalledProcessError(
                process.returncode, process.args, stderr="".join(said)
            )
        printed.seek(0)
        return printed.read()


def last_said(stderr: str) -> str:
    """The last line that a command said, or all of the frame that it ended with."""
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    if not lines or not lines[-1].startswith("╰"):
        return lines[-1].strip() if lines else ""
    starts = [at for at, line in enumerate(lines) if line.startswith("╭")]
    framed = lines[starts[-1] + 1 if starts else 0 : -1]
    return " ".join(line.strip("│ ") for line in framed)


def result_path(out: Path, cell: Cell, part: str) -> Path:
    return out / f"{cell.name}.{part}.json"


def run_of(out: Path, cell: Cell, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """What `joined` takes of a cell."""
    found = {part: json.loads(result_path(out, cell, part).read_text()) for part in parts}
    curve = json.loads((out / cell.name / "curve.json").read_text())
    return {"cell": cell.name, "seed": cell.seed, "curve": curve, **found}


def chosen(names: str | None) -> list[Cell]:
    known = {cell.name: cell for cell in cells()}
    if names is None:
        return list(known.values())
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"no cell is named {unknown[0]!r}; --list shows all")
    return [known[name] for name in names.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("cube"))
    parser.add_argument("--text", action="append", help="as for freeatten train; repeatable")
    parser.add_argument("--books", default="books-heldout", help="folder of held-out books")
    parser.add_argument("--cells", help="names, with commas; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    given = parser.parse_args(arguments)
    wanted = chosen(given.cells)
    if given.list:
        print("\n".join(cell.name for cell in wanted))
        return
    if not given.text:
        raise SystemExit("--text is missing: name a file, a folder or packages to train on")
    given.out.mkdir(parents=True, exist_ok=True)
    first, *rest = wanted
    make(first, given)  # alone: it prepares the text that all share
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(partial(make, given=given), rest))
    result = shared_runs(joined([run_of(given.out, cell) for cell in wanted]))
    write_text(given.out / "runs.json", json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
