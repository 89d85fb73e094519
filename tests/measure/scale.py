"""Training at a larger size: its speed on one and several GPUs, and its rows as one result.

    python tests/measure/scale.py speed --size medium --variant lssar:p=15 --out OUT/one.speed.json
    torchrun --nproc-per-node 2 tests/measure/scale.py speed … [--shard] --out OUT/two.speed.json
    python tests/measure/scale.py join OUT --out assets/results/scale

`speed` trains on random tokens: ten steps to warm up, then twenty that are timed, updates included.
`scale_rows.py` trains and measures rows. `join` reads a folder of NAME.speed.json, of checkpoints'
NAME/curve.json and NAME/config.json, and of what `compare`, `retrieve` and `entropy` printed with
`--json` as NAME.KIND.json, one row a file. It writes training.json, how fast and how rows were
trained, those whose names begin with trial- apart, and a KIND.json of all rows. Speeds and trials
that stand in OUT stay there where the folder has none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.devices import choose_device, device_name
from freeatten_core.basics.distributed import Ranks, joined_ranks, rank_device, started_ranks
from freeatten_core.basics.files import write_text
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import parameter_count
from freeatten_core.results.facts import commit, versions
from freeatten_core.results.heads import slim_heads
from freeatten_core.training.objective import Objective
from freeatten_core.training.recipe import OPTIMIZERS, SIZES, Recipe
from freeatten_core.training.sharding import drawn_anew
from freeatten_core.training.updates import Updates
from freeatten_core.variants.variant import Variant

WARM_UP, TIMED = 10, 20
PEAKS = {"H100": 989e12, "H200": 989e12}
"""Operations a second in bfloat16 without sparsity, by the vendor's data sheets."""
TRIAL = "trial-"
"""How names of trainings begin that were only to choose an optimizer and a schedule."""
OF_ALL_ROWS = ("seconds", "command", "variants", "commit", "date")
"""What the results of single rows do not share."""


class RandomTokens:
    """Windows of the recipe's size, the same every step."""

    def __init__(self, recipe: Recipe, device: torch.device, ranks: Ranks) -> None:
        count = recipe.batch // ranks.count
        shape = (count, recipe.train_length + 1)
        self._drawn = torch.randint(recipe.vocab_size, shape, device=device)

    def training(self, step: int) -> Tensor:
        del step
        return self._drawn

    def validation(self) -> list[Tensor]:
        return [self._drawn]

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        return drawn[:, :-1], drawn[:, 1:]


def operations_a_token(recipe: Recipe, variant: Variant) -> int:
    """Of a step: six for every weight, and the causal half of every layer's two products."""
    weights = parameter_count(recipe.config(variant))
    return 6 * (weights + recipe.layers * recipe.width * recipe.train_length)


def speed(given: argparse.Namespace) -> None:
    """Measure a training step on all ranks; rank 0 writes."""
    recipe = Recipe().changed(**SIZES[given.size]).changed(**changes(given))
    variant = Variant.parse(given.variant)
    ranks = started_ranks()
    device = rank_device(ranks, choose_device(given.device))
    with joined_ranks(ranks, device):
        found = measured(recipe, variant, device, ranks, shard=given.shard)
        if ranks.writes:
            given.out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
            print(f"{given.out.name}: {found['tokens_per_second']:,.0f} tokens/s")


def changes(given: argparse.Namespace) -> dict[str, Any]:
    """Of the size, for what fits or for a try on a CPU."""
    return {
        "parts": given.parts,
        "optimizer": given.optimizer,
        "batch": given.batch,
        "width": given.width,
        "heads": given.heads,
        "train_length": given.length,
    }


def measured(
    recipe: Recipe, variant: Variant, device: torch.device, ranks: Ranks, *, shard: bool
) -> dict[str, Any]:
    model = Model(recipe.config(variant))
    model = model if shard else model.to(device)
    source = RandomTokens(recipe, device, ranks)
    objective = Objective(model, source, 0, recipe.parts, ranks, device if shard else None)
    drawn_anew(model, 0, recipe.initial_deviation)
    updates = Updates(model, recipe, recipe.learning_rates[0], WARM_UP + TIMED)
    begun = 0.0
    for step in range(WARM_UP + TIMED):
        if step == WARM_UP:
            waited(device, ranks)
            begun = time.perf_counter()
        objective.gradients(step, updates.steps)
        updates.apply(step)
    waited(device, ranks)
    rate = TIMED * recipe.batch * recipe.train_length / (time.perf_counter() - begun)
    cuda = device.type == "cuda"
    peak = next((PEAKS[each] for each in PEAKS if each in device_name(device)), None)
    operations = operations_a_token(recipe, variant)
    return {
        "variant": str(variant),
        "parameters": parameter_count(recipe.config(variant)),
        "optimizer": recipe.optimizer,
        "train_length": recipe.train_length,
        "batch": recipe.batch,
        "parts": recipe.parts,
        "processes": ranks.count,
        "shard": shard,
        "tokens_per_second": rate,
        "operations_per_token": operations,
        "share_of_peak": None if peak is None else rate * operations / (peak * ranks.count),
        "peak_bytes": torch.cuda.max_memory_allocated(device) if cuda else None,
        "device": device_name(device),
        "versions": versions(),
        "commit": commit(),
    }


def waited(device: torch.device, ranks: Ranks) -> None:
    """Until all ranks have done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    ranks.wait()


def join(given: argparse.Namespace) -> None:
    """A file for the trainings, and one for every kind of measurement."""
    folder, out = given.folder, given.out
    out.mkdir(parents=True, exist_ok=True)
    rows = [row(path.parent) for path in sorted(folder.glob("*/curve.json"))]
    done = {each["name"] for each in rows}
    unfinished = {
        name: read(path)
        for path in sorted(folder.glob("*.progress.json"))
        if (name := path.name.split(".")[0]) not in done
    }
    earlier = read(out / "training.json") if (out / "training.json").exists() else {}
    speeds = [read(path) for path in sorted(folder.glob("*.speed.json"))]
    trials = [each for each in rows if each["name"].startswith(TRIAL)]
    training = {
        "schema": 1,
        "speed": speeds or earlier.get("speed", []),
        "rows": [each for each in rows if not each["name"].startswith(TRIAL)],
        "trials": trials or earlier.get("trials", []),
        "unfinished": unfinished,
    }
    kinds = {path.suffixes[-2][1:] for path in folder.glob("*.*.json")} - {"speed", "progress"}
    found = {kind: joined(sorted(folder.glob(f"*.{kind}.json"))) for kind in sorted(kinds)}
    found |= {path.stem: read(path) for path in sorted(folder.glob("sizes-*.json"))}
    for name, result in {"training": training, **found}.items():
        write_text(out / f"{name}.json", json.dumps(result, separators=(",", ":")) + "\n")


def row(folder: Path) -> dict[str, Any]:
    """How a model was trained."""
    about, config = read(folder / "curve.json"), read(folder / "config.json")
    recipe = about["recipe"]
    kept = ("curve", "seconds", "device", "ranks", "command", "torch", "learning_rate", "recipe")
    return {
        "name": folder.name,
        "variant": config["variant"],
        "parameters": parameter_count(recipe_of(recipe).config(Variant.parse(config["variant"]))),
        "train_length": recipe["train_length"],
        "tokens_seen": recipe["steps"] * recipe["batch"] * recipe["train_length"],
        "tokens_of_text": [each["tokens"] for each in about["text"]["sources"]],
        **{key: about.get(key) for key in kept},
    }


def recipe_of(values: dict[str, Any]) -> Recipe:
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Recipe(**{**values, **tuples})


def joined(paths: list[Path]) -> dict[str, Any]:
    """Results of single rows on the same texts, as one of all rows."""
    results = [read(path) for path in paths]
    shared = {key: value for key, value in results[0].items() if key not in OF_ALL_ROWS}
    for path, result in zip(paths, results, strict=True):
        for key in ("lengths", "text", "seed", "commit"):
            if result[key] != results[0][key]:
                raise SystemExit(f"{path} has another {key} than {paths[0]}")
    names = [f"--checkpoint {path.name.split('.')[0]}" for path in paths]
    return {
        **shared,
        "seconds": sum(result["seconds"] for result in results),
        "command": results[0]["command"].replace(names[0], " ".join(names)),
        "date": results[0]["date"],
        "commit": results[0]["commit"],
        "variants": [slim_heads(entry) for result in results for entry in result["variants"]],
    }


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("speed")
    one.set_defaults(work=speed)
    one.add_argument("--size", choices=SIZES, default="medium")
    one.add_argument("--variant", default="lssar:p=15")
    one.add_argument("--device", default="auto")
    one.add_argument("--optimizer", choices=OPTIMIZERS)
    one.add_argument("--shard", action="store_true")
    for name in ("parts", "batch", "width", "heads", "length"):
        one.add_argument(f"--{name}", type=int)
    one.add_argument("--out", type=Path, required=True)
    other = commands.add_parser("join")
    other.set_defaults(work=join)
    other.add_argument("folder", type=Path)
    other.add_argument("--out", type=Path, required=True)
    return parser.parse_args(words)


def main() -> None:
    given = arguments()
    given.work(given)


if __name__ == "__main__":
    main()
