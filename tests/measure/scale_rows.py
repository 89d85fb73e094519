"""Trains a row of a larger size, for as many tokens as the others, and measures it where it is.

    python tests/measure/scale_rows.py prepare --work WORK --text packages --text BOOKS
    python tests/measure/scale_rows.py row small-muon --size small --variant softmax --seconds 45 \\
        --speeds OUT/small.speed.json --work WORK --out OUT --text packages --text BOOKS \\
        -- --optimizer muon
    python tests/measure/scale_rows.py row medium-softmax --size medium --variant softmax \\
        --seconds 330 --tokens 100e6 --speeds OUT/*.speed.json --best OUT/small-*/curve.json \\
        --work WORK --out OUT --text packages --text BOOKS --books HELD-OUT --measure

Steps are what the slowest of the speeds does in the seconds, or what the tokens need if that is
more; of speeds that commas join the fastest counts, as of variants the fastest is trained. `--best`
takes optimizer and schedule from the training with the lowest validation loss. What stands behind
`--` is given to `freeatten train`. OUT gets what is small: NAME/curve.json and NAME/config.json,
NAME.KIND.json, and while it trains NAME.progress.json, the last state kept with the tokens seen and
the curve. Weights and states stay in WORK. Run again, the same command goes on, and makes what is
missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from freeatten_core.basics.files import write_text
from freeatten_core.data.prepared import prepared
from freeatten_core.training.recipe import SIZES, Recipe
from freeatten_core.training.state import ABOUT, kept_folder, state_path
from freeatten_core.variants.variant import Variant

PROGRAM = shutil.which("freeatten") or Path(sys.executable).with_name("freeatten")
CORPUS = "corpus"
ASKED_EVERY = 10.0
"""Seconds between looks at the state of a training."""
FILES = ("curve.json", "config.json")
"""Of a checkpoint, what is small."""


def measures(given: argparse.Namespace) -> dict[str, list[str]]:
    """Commands by the kind of what they measure; texts by the names that they have in WORK."""
    compare = ["compare", "--len", given.lengths, "--texts", str(given.texts)]
    found = {"code": compare}
    found |= {path.name.split("-")[0]: [*compare, "--text", path.name] for path in given.books}
    found["copy"] = ["retrieve", "--len", given.lengths]
    found["inside"] = ["entropy", "--len", given.inside, "--by", "length"]
    found["bfloat16"] = ["compare", "--len", given.lengths, "--texts", "4", "--dtype", "bfloat16"]
    return found


def row(given: argparse.Namespace) -> None:
    """Train and measure; what is there already is not made again."""
    given.out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    for source in (*map(Path, given.text), *given.books):
        link = given.work / source.name
        if source.is_dir() and not link.exists():
            link.symlink_to(source.resolve())
    if not (given.work / given.name).exists():
        train(given)
    (given.out / f"{given.name}.progress.json").unlink(missing_ok=True)
    small = given.out / given.name
    small.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(given.work / given.name / name, small / name)
    wanted = measures(given) if given.measure else {}
    failed = [kind for kind, words in wanted.items() if not measured(given, kind, words)]
    if failed:
        raise SystemExit(f"{given.name}: not measured: {', '.join(failed)}")


def train(given: argparse.Namespace) -> None:
    """`freeatten train`, with a look at its state from time to time."""
    recipe = Recipe().changed(**SIZES[given.size])
    variant, steps = fastest(given), steps_of(given, recipe)
    every = max(1, steps // 20)
    words = [
        *("train", "--size", given.size, "--variant", variant, "--steps", str(steps)),
        *("--evaluate-every", str(every), "--save-every", str(5 * every)),
        *(part for text in given.text for part in ("--text", Path(text).name)),
        *("--corpus", CORPUS, "--out", given.name, *best(given), *given.options),
    ]
    print(given.name, *words, flush=True)
    with (
        (given.out / f"{given.name}.log").open("a", encoding="utf-8") as log,
        subprocess.Popen([PROGRAM, *words], cwd=given.work, stderr=log) as process,
    ):
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ASKED_EVERY)
                tell(given, recipe)
        finally:
            process.terminate()
    if process.returncode:
        raise SystemExit(f"{given.name}: its training ended with {process.returncode}")


def tell(given: argparse.Namespace, recipe: Recipe) -> None:
    """Write how far the last state is that was kept."""
    kept = kept_folder(state_path(given.work / given.name))
    if kept is None:
        return
    with suppress(FileNotFoundError):  # a later one has just taken its place
        state = read(kept / ABOUT)["state"]
        seen = state["step"] * recipe.batch * recipe.train_length
        about = {"step": state["step"], "tokens_seen": seen, "curve": state["curve"]}
        write_text(given.out / f"{given.name}.progress.json", json.dumps(about) + "\n")


def steps_of(given: argparse.Namespace, recipe: Recipe) -> int:
    """The same for every row that has the same speeds beside it."""
    rates = [max(found) for found in map(rates_in, given.speeds) if found]
    if not rates and not given.tokens:
        raise SystemExit(f"{given.name}: none of --speeds is there, nor --tokens")
    tokens = max(given.tokens, given.seconds * min(rates, default=0.0))
    return max(1, round(tokens / (recipe.batch * recipe.train_length)))


def rates_in(paths: str) -> list[float]:
    """Tokens a second in those that there are of some files, with commas."""
    known = [path for path in map(Path, paths.split(",")) if path.exists()]
    return [read(path)["tokens_per_second"] for path in known]


def fastest(given: argparse.Namespace) -> str:
    """Of several variants the one with the highest speed, or the first."""
    paths = [path for paths in given.speeds for path in map(Path, paths.split(","))]
    speeds = [read(path) for path in paths if path.exists()]
    rates = {speed["variant"]: speed["tokens_per_second"] for speed in speeds}
    names = [str(each) for each in Variant.parse_list(given.variant)]
    return max(names, key=lambda name: rates.get(name, 0.0))


def best(given: argparse.Namespace) -> list[str]:
    """Options of the best training; the first row that asks decides for all."""
    if not given.best:
        return []
    path = given.out / "best.json"
    if not path.exists():
        trials = [read(trial) for trial in given.best if trial.exists()]
        if not trials:
            return []
        lowest = min(trials, key=lambda trial: float(trial["curve"][-1]["validation"]))
        options = {key: lowest["recipe"][key] for key in ("optimizer", "schedule")}
        write_text(path, json.dumps(options) + "\n")
    return [part for key, value in read(path).items() for part in (f"--{key}", value)]


def measured(given: argparse.Namespace, kind: str, words: Sequence[str]) -> bool:
    """Make a result if it is not there; whether it is there now."""
    path = given.out / f"{given.name}.{kind}.json"
    if path.exists():
        return True
    begun = time.perf_counter()
    command = [PROGRAM, *words, "--checkpoint", given.name, "--quiet", "--json"]
    done = subprocess.run(command, cwd=given.work, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        write_text(path, done.stdout)
    print(f"{given.name} {kind}: {time.perf_counter() - begun:.0f} s", flush=True)
    return done.returncode == 0


def prepare(given: argparse.Namespace) -> None:
    """The text that all rows are trained on, once."""
    given.work.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    vocabulary = given.vocab or SIZES[given.size]["vocab_size"]
    corpus = prepared(
        given.text, given.work / CORPUS, vocab_size=vocabulary, replace=True, report=print
    )
    tokens = {source.name: len(source.tokens) for source in corpus.sources}
    print(f"{tokens}, {time.perf_counter() - begun:.0f} s", flush=True)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("prepare")
    one.set_defaults(work_of=prepare)
    one.add_argument("--vocab", type=int, help="tokens to learn; by default the size's")
    other = commands.add_parser("row")
    other.set_defaults(work_of=row)
    other.add_argument("name")
    other.add_argument("--variant", required=True, help="of several the fastest is trained")
    other.add_argument("--seconds", type=float, required=True, help="of training steps")
    other.add_argument("--tokens", type=float, default=0.0, help="to be seen at the least")
    other.add_argument("--speeds", nargs="*", default=[])
    other.add_argument("--best", type=Path, nargs="*", default=[])
    other.add_argument("--out", type=Path, required=True)
    other.add_argument("--measure", action="store_true")
    other.add_argument("--books", type=Path, action="append", default=[], help="held out")
    other.add_argument("--lengths", default="16x")
    other.add_argument("--inside", default="8x", help="tokens that every head is looked at")
    other.add_argument("--texts", type=int, default=14)
    for each in (one, other):
        each.add_argument("--size", choices=SIZES, default="medium")
        each.add_argument("--work", type=Path, required=True)
        each.add_argument("--text", action="append", required=True, help="as for freeatten train")
    behind = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:behind])
    given.options = words[behind + 1 :]
    return given


def main() -> None:
    given = arguments(sys.argv[1:])
    given.work_of(given)


if __name__ == "__main__":
    main()
