"""A training's numbers for programs that show them, on this machine alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freeatten_core.training.reports import Progress

__all__ = ["LOGS", "check_log", "logged"]

LOGS = ("tensorboard", "trackio")
PROJECT = "freeatten"
SENDING = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Variables by which trackio sends what it is given to another machine."""
MEASURED = ("loss", "validation", "learning_rate", "tokens_per_second")

Report = Callable[["Progress"], None]
Log = Callable[[Mapping[str, float], int], None]


def check_log(kind: str | None) -> None:
    """Whether what `--log` names is there, before minutes are spent.

    Raises:
        UsageError: it is not, or it would send numbers elsewhere.
    """
    from freeatten_core.basics.errors import UsageError

    from .options import check_choice

    if kind is None:
        return
    check_choice("log", kind, LOGS)
    if find_spec(kind) is None:
        raise UsageError(
            f"--log {kind} needs the package {kind}, which is not installed: "
            f"pip install 'freeatten[{kind}]'"
        )
    for name in SENDING if kind == "trackio" else ():
        if os.environ.get(name):
            raise UsageError(
                f"the variable {name} is set, by which trackio would send the numbers elsewhere; "
                "unset it"
            )


@contextmanager
def logged(
    kind: str | None, out: Path, asked: Mapping[str, Any], report: Report
) -> Iterator[Report]:
    """A report that also logs every evaluation of a training.

    Args:
        kind: one of `LOGS`, or None for `report` as it is.
        out: where the checkpoint will be; TensorBoard's folder is beside it, NAME.tensorboard, and
            trackio's run has its name. A run that goes on adds to them.
        asked: the recipe, for trackio's table of runs.
    """
    if kind is None:
        yield report
        return
    with _tensorboard(out) if kind == "tensorboard" else _trackio(out, asked) as log:

        def both(progress: Progress) -> None:
            if progress.phase == "train":
                log({name: getattr(progress, name) for name in MEASURED}, progress.step)
            report(progress)

        yield both


@contextmanager
def _tensorboard(out: Path) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out.with_name(f"{out.name}.tensorboard"))) as writer:

        def log(values: Mapping[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield log


@contextmanager
def _trackio(out: Path, asked: Mapping[str, Any]) -> Iterator[Log]:
    import trackio

    # what it prints is no result
    with redirect_stdout(sys.stderr):
        trackio.init(
            project=PROJECT,
            name=out.name,
            config=dict(asked),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        try:
            yield lambda values, step: trackio.log(dict(values), step=step)
        finally:
            trackio.finish()
