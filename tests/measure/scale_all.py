"""All of a larger size on one machine, by one command: speeds, trials, rows and what they measure.

    python tests/measure/scale_all.py --gpus 4 --work WORK --out OUT --text packages --text BOOKS \\
        --books HELD-OUT --books NONFICTION-HELD-OUT [--until speeds|trials|rows]

In this order: the text is prepared while steps are timed, of four variants on one GPU each and of
one on two; AdamW and Muon under three schedules for as many seconds each; four rows of 105 million
parameters and two of 25, of equal tokens, one a GPU, by the best optimizer and schedule; rows of
all sizes by the byte. Run again, it goes on, and makes what is missing. Afterwards

    python tests/measure/scale.py join OUT --out assets/results/scale
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from freeatten_core.basics.files import write_text

HERE = Path(__file__).parent
FOX = "softmax:gate=forget:position=rope@128-rope@128-none-rope@128-none"
TIMED = {"softmax": "softmax", "lssar": "lssar:p=15", "stick": "stick-breaking", "fox": FOX}
"""Variants by the names of their speeds."""
OPTIMIZERS, SCHEDULES = ("adamw", "muon"), ("linear", "cosine", "wsd")
ROWS = {"softmax": "softmax", "lssar-p15": "lssar:p=15", "softmax-ls": "softmax-ls"}
UNTIL = ("speeds", "trials", "rows", "sizes")


@dataclass(frozen=True)
class Job:
    """A program on some GPUs; `made` is there when it is done."""

    name: str
    words: Sequence[str]
    gpus: int = 1
    made: Path | None = None
    printed_in: Path | None = None
    """Where it runs whose output is what is made; None for one that makes it itself."""


def speeds(given: argparse.Namespace) -> list[Job]:
    """The text, on no GPU, and steps of every variant, of both optimizers, and on two GPUs."""
    text = ("prepare", "--work", str(given.work), *texts(given))
    jobs = [Job("prepare", (str(HERE / "scale_rows.py"), *text), gpus=0)]
    jobs += [_speed(given, name, variant, "medium", 4) for name, variant in TIMED.items()]
    jobs += [
        _speed(given, f"small-{each}", "softmax", "small", 2, "--optimizer", each)
        for each in OPTIMIZERS
    ]
    if given.gpus > 1:
        alone = _speed(given, "lssar", TIMED["lssar"], "medium", 2)
        path = given.out / "lssar-2.speed.json"
        start = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        words = (*start, *alone.words[:-1], str(path))
        jobs.append(Job("speed of two", words, gpus=2, made=path))
    return jobs


def _speed(
    given: argparse.Namespace, name: str, variant: str, size: str, parts: int, *more: str
) -> Job:
    path = given.out / f"{name}-1.speed.json"
    words = ["speed", "--size", size, "--variant", variant, "--parts", str(parts), *more]
    script = str(HERE / "scale.py")
    return Job(f"speed of {name}", (script, *words, "--out", str(path)), made=path)


def trials(given: argparse.Namespace) -> list[Job]:
    """Every optimizer under every schedule."""
    found = []
    for optimizer in OPTIMIZERS:
        rate = given.out / f"small-{optimizer}-1.speed.json"
        for schedule in SCHEDULES:
            name = f"trial-{optimizer}-{schedule}"
            words = _row(given, name, "small", "softmax", given.trial_seconds, [str(rate)])
            options = ("--parts", "2", "--optimizer", optimizer, "--schedule", schedule)
            made = given.out / name / "curve.json"
            found.append(Job(name, (*words, "--", *options), made=made))
    return found


def rows(given: argparse.Namespace) -> list[Job]:
    """Those of 105 million parameters first."""
    one = {name: given.out / f"{name}-1.speed.json" for name in TIMED}
    rates = [str(one["softmax"]), str(one["lssar"]), f"{one['stick']},{one['fox']}"]
    best = [str(given.out / f"trial-{o}-{s}" / "curve.json") for o in OPTIMIZERS for s in SCHEDULES]
    held_out = [part for path in given.books for part in ("--books", str(path))]
    more = ["--tokens", "100e6", "--best", *best, *held_out, "--measure"]
    wanted = [("medium", name, variant, "4") for name, variant in ROWS.items()]
    wanted.append(("medium", "stick-or-fox", f"stick-breaking,{FOX}", "4"))
    wanted += [("small", name, ROWS[name], "2") for name in ("softmax", "lssar-p15")]
    found = []
    for size, name, variant, parts in wanted:
        words = _row(given, f"{size}-{name}", size, variant, given.seconds, rates)
        found.append(Job(f"{size}-{name}", (*words, *more, "--", "--parts", parts)))
    return found


def _row(
    given: argparse.Namespace,
    name: str,
    size: str,
    variant: str,
    seconds: float,
    rates: Sequence[str],
) -> tuple[str, ...]:
    words = ("row", name, "--size", size, "--variant", variant, "--seconds", str(seconds))
    places = ("--work", str(given.work), "--out", str(given.out))
    return (str(HERE / "scale_rows.py"), *words, *places, *texts(given), "--speeds", *rates)


def sizes(given: argparse.Namespace) -> list[Job]:
    """Rows of two sizes and the shipped ones on the same characters."""
    names = [f"{size}-{name}" for size in ("medium", "small") for name in ("softmax", "lssar-p15")]
    checkpoints = [part for name in names for part in ("--checkpoint", name)]
    found = []
    for kind, text in (("code", []), ("books", ["--text", given.books[0].name])):
        path = given.out / f"sizes-{kind}.json"
        words = ["compare", *checkpoints, "--variants", "softmax,lssar:p=15", "--texts", "14"]
        words += ["--len", "512,1024,8192,16384", *text, "--quiet", "--json"]
        program = ("-m", "freeatten_cli", *words)
        found.append(Job(f"sizes on {kind}", program, made=path, printed_in=given.work))
    return found


def texts(given: argparse.Namespace) -> list[str]:
    return [part for text in given.text for part in ("--text", text)]


def run(job: Job, gpus: Sequence[int]) -> bool:
    """Whether it ended well."""
    shown = ",".join(map(str, gpus))
    print(f"{job.name}: begins on {shown or 'no'} GPU", flush=True)
    output = None if job.printed_in is None else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, *job.words],
        cwd=job.printed_in,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": shown},
        stdout=output,
        text=True,
        check=False,
    )
    well = done.returncode == 0
    if well and job.made is not None and job.printed_in is not None:
        write_text(job.made, done.stdout)
    print(f"{job.name}: ended with {done.returncode}", flush=True)
    return well


def stage(jobs: Sequence[Job], gpus: int) -> list[str]:
    """Run what is not made, beside each other; the names of those that failed."""
    free: queue.Queue[int] = queue.Queue()
    for gpu in range(gpus):
        free.put(gpu)

    def on_its_own(job: Job) -> bool:
        taken = [free.get() for _ in range(job.gpus)]
        try:
            return run(job, taken)
        finally:
            for gpu in taken:
                free.put(gpu)

    wanted = [job for job in jobs if job.made is None or not job.made.exists()]
    beside = [job for job in wanted if job.gpus < 2]
    with ThreadPoolExecutor(gpus + 1) as pool:
        went = list(pool.map(on_its_own, beside))
    # alone, or two that wait for each other's GPUs would wait for ever
    went += [on_its_own(job) for job in wanted if job.gpus > 1]
    ordered = [*beside, *(job for job in wanted if job.gpus > 1)]
    return [job.name for job, well in zip(ordered, went, strict=True) if not well]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True, help="weights and states")
    parser.add_argument("--out", type=Path, required=True, help="what is small")
    parser.add_argument("--text", action="append", required=True, help="as for freeatten train")
    parser.add_argument("--books", type=Path, action="append", required=True, help="held out")
    parser.add_argument("--seconds", type=float, default=330, help="of a row's training")
    parser.add_argument("--trial-seconds", type=float, default=50)
    parser.add_argument("--until", choices=UNTIL, default=UNTIL[-1])
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    given = arguments(words)
    given.work, given.out = given.work.absolute(), given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    stages = (speeds, trials, rows, sizes)[: UNTIL.index(given.until) + 1]
    for each in stages:  # what a stage leaves out is not what the next one chooses from
        if failed := list(stage(each(given), given.gpus)):
            raise SystemExit(f"failed: {', '.join(failed)}; run it again for what is missing")


if __name__ == "__main__":
    main()
