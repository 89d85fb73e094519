"""Trains and scores a list of variants by one recipe, several at a time, and joins them.

    python tests/measure/rows.py --out rows --text packages --text BOOKS --books HELD-OUT \
        --variants softmax,alibi,fox --jobs 4

By the cube's recipe, or with `--recipe full` by that of the shipped models. `--tokenizer softmax`
takes the tokenizer of the shipped models instead of learning one, so that what is trained on
another day can be joined. `--ceiling 8192` trains each variant at that length, too, with as many
tokens a step, and scores it at the same lengths.
What the folder has already is not made again. Written after every row, so that a run that is
stopped leaves what it has: OUT/rows.json, a result for assets/results, with every row's loss by
length, Δ, S and W on code and on books, its learning curve in at most 40 points, and the reasons
of those that failed; and OUT/curves.json, the whole learning curves. `--join` trains and scores
nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from cube import LENGTHS, last_said, run_of, score, train
from tokenizers import Tokenizer

from freeatten_core.basics.files import write_text
from freeatten_core.data.prepared import prepared
from freeatten_core.data.tokenizer import read_tokenizer
from freeatten_core.models.catalogue import locate, tokenizer_file
from freeatten_core.results.cube import joined
from freeatten_core.results.shared import shared_runs
from freeatten_core.training.cube import RECIPE, Cell
from freeatten_core.training.recipe import Recipe
from freeatten_core.variants.variant import Variant

PARTS = ("code", "books")


RECIPES = {"short": RECIPE, "full": Recipe()}


def write(out: Path, runs: Sequence[dict[str, Any]], failed: Sequence[dict[str, str]]) -> None:
    """Join what there is by now, what was trained at the common length first."""
    if runs:
        ordered = sorted(runs, key=lambda run: run["curve"]["recipe"]["train_length"])
        result = shared_runs(joined(ordered, PARTS) | {"failed": list(failed)})
        write_text(out / "rows.json", json.dumps(result, separators=(",", ":")) + "\n")
    curves = {run["cell"]: run["curve"]["curve"] for run in runs}
    write_text(out / "curves.json", json.dumps(curves, separators=(",", ":")) + "\n")


def cells(given: argparse.Namespace) -> list[Cell]:
    """What is asked for, the first seed of every variant first."""
    variants, recipe = Variant.parse_list(given.variants), RECIPES[given.recipe]
    return [Cell(each, seed, recipe=recipe) for seed in range(given.seeds) for each in variants]


def make(cell: Cell, given: argparse.Namespace) -> None:
    """Train and score a cell; one of another length beside the row of the same variant and seed,
    from whose training length on the lengths are then counted."""
    if given.join:
        return
    train(cell, given, ["--tokenizer", given.tokenizer] if given.tokenizer else [])
    row = replace(cell, train_length=cell.recipe.train_length)
    score(cell, given, PARTS, given.lengths, [] if row == cell else [row])


def tokenizer_of(checkpoint: str | None) -> Tokenizer | None:
    return None if checkpoint is None else read_tokenizer(tokenizer_file(*locate(checkpoint)))


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("rows"))
    parser.add_argument("--text", action="append", required=True, help="as for freeatten train")
    parser.add_argument("--books", default="books-heldout", help="folder of held-out books")
    parser.add_argument("--variants", required=True, help="names, with commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each, from seed 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time")
    parser.add_argument("--tokenizer", help="checkpoint whose tokenizer is taken")
    parser.add_argument("--recipe", choices=RECIPES, default="short", help="short is the cube's")
    parser.add_argument("--lengths", default=LENGTHS, help="tokens, with commas")
    parser.add_argument("--ceiling", type=int, help="also trained at so many tokens, seed 0")
    parser.add_argument("--join", action="store_true", help="only join what the folder has")
    return parser.parse_args(given)


def main(asked: Sequence[str] | None = None) -> None:
    given = arguments(asked)
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.join:
        # once for all, before they are trained beside each other
        size, tokenizer = RECIPES[given.recipe].vocab_size, tokenizer_of(given.tokenizer)
        corpus = given.out / "corpus"
        prepared(given.text, corpus, vocab_size=size, tokenizer=tokenizer, report=print)
    rows = cells(given)
    ceilings = [replace(row, train_length=given.ceiling) for row in rows if row.seed == 0]
    runs: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for wanted in (rows, ceilings if given.ceiling else []):
        collect(wanted, given, runs, failed)


def collect(
    wanted: Sequence[Cell],
    given: argparse.Namespace,
    runs: list[dict[str, Any]],
    failed: list[dict[str, str]],
) -> None:
    """Make cells beside each other, and write what there is after each."""
    with ThreadPoolExecutor(given.jobs) as pool:
        made = {pool.submit(make, cell, given): cell for cell in wanted}
        for done in as_completed(made):
            cell = made[done]
            try:
                done.result()
                runs.append(run_of(given.out, cell, PARTS))
            except subprocess.CalledProcessError as error:
                fail(reason(error), cell, failed)
            except FileNotFoundError as error:
                fail(f"{error.filename} is missing", cell, failed)
            write(given.out, runs, failed)


def reason(error: subprocess.CalledProcessError) -> str:
    """Why a command failed, in its own words, or how it ended where it had none."""
    words = last_said(error.stderr or "") or f"ended with {error.returncode}"
    return f"freeatten {error.cmd[1]}: {words}"


def fail(reason: str, cell: Cell, failed: list[dict[str, str]]) -> None:
    failed.append({"cell": cell.name, "variant": str(cell.variant), "reason": reason})
    print(failed[-1], flush=True)


if __name__ == "__main__":
    main()
