"""Joins the learning curves of small models of tasks, for assets/results/tasks.

    python tests/measure/learned.py OUT.json DATE COMMIT FOLDER...

A folder is a checkpoint of `freeatten train --task`, or what is left of one: its config.json and
curve.json. Runs must have one recipe but for their vocabulary.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from freeatten_core.basics.files import write_text
from freeatten_core.data.tasks.table import TASKS

KEPT = ("recipe", "learning_rate", "curve", "seconds", "command")


def run_of(folder: Path) -> dict[str, Any]:
    about = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = {"task": about["task"]["kind"], "variant": config["variant"]}
    return named | {key: about[key] for key in (*KEPT, "device", "torch")}


def main() -> None:
    out, date, commit, *folders = sys.argv[1:]
    runs = [run_of(Path(folder)) for folder in folders]
    recipes = [{**run["recipe"], "vocab_size": 0} for run in runs]
    alike = [
        (recipe, run["device"], run["torch"]) for recipe, run in zip(recipes, runs, strict=True)
    ]
    if any(each != alike[0] for each in alike):
        raise SystemExit("the runs differ in recipe, device or torch")
    common = {"device": runs[0]["device"], "torch": runs[0]["torch"]}
    kinds = dict.fromkeys(run["task"] for run in runs)
    result = {
        "schema": 1,
        "date": date,
        "commit": commit,
        **common,
        "guesses": {kind: -math.log(TASKS[kind].chance) for kind in kinds},
        "runs": [{key: run[key] for key in ("task", "variant", *KEPT)} for run in runs],
    }
    write_text(Path(out), json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
