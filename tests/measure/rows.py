"""Trains and scores a list of variants by the cube's recipe, several at a time, and joins them.

    python tests/measure/rows.py --out rows --text packages --text BOOKS --books HELD-OUT \
        --variants softmax,alibi,fox --jobs 4

What the folder has already is not made again. Written after every row, so that a run that is
stopped leaves what it has: OUT/rows.json, a result for assets/results, with every row's loss by
length, Δ, S and W on code and on books and the reasons of those that failed, and OUT/curves.json,
the learning curves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from cube import make, run_of

from freeatten_core.basics.files import write_text
from freeatten_core.data.prepared import prepared
from freeatten_core.results.cube import joined
from freeatten_core.training.cube import RECIPE, Cell
from freeatten_core.variants.variant import Variant

PARTS = ("code", "books")


def write(out: Path, runs: Sequence[dict[str, Any]], failed: Sequence[dict[str, str]]) -> None:
    """Join what there is by now."""
    if runs:
        result = joined(runs, PARTS) | {"failed": list(failed)}
        write_text(out / "rows.json", json.dumps(result) + "\n")
    curves = {run["cell"]: run["curve"]["curve"] for run in runs}
    write_text(out / "curves.json", json.dumps(curves) + "\n")


def cells(given: argparse.Namespace) -> list[Cell]:
    """What is asked for, the first seed of every variant first."""
    variants = Variant.parse_list(given.variants)
    return [Cell(each, seed) for seed in range(given.seeds) for each in variants]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("rows"))
    parser.add_argument("--text", action="append", required=True, help="as for freeatten train")
    parser.add_argument("--books", default="books-heldout", help="folder of held-out books")
    parser.add_argument("--variants", required=True, help="names, with commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each, from seed 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time")
    return parser.parse_args(given)


def main(asked: Sequence[str] | None = None) -> None:
    given = arguments(asked)
    given.out.mkdir(parents=True, exist_ok=True)
    # once for all, before they are trained beside each other
    prepared(given.text, given.out / "corpus", vocab_size=RECIPE.vocab_size, report=print)
    runs: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        made = {pool.submit(make, cell, given, PARTS): cell for cell in cells(given)}
        for done in as_completed(made):
            cell = made[done]
            try:
                done.result()
                runs.append(run_of(given.out, cell, PARTS))
            except subprocess.CalledProcessError as error:
                reason = f"freeatten {error.cmd[1]} ended with {error.returncode}"
                failed.append({"cell": cell.name, "variant": str(cell.variant), "reason": reason})
                print(failed[-1], flush=True)
            write(given.out, runs, failed)


if __name__ == "__main__":
    main()
