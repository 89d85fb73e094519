"""How the shipped models were trained: the recipe as plain values, and the loop.

The order of the data depends on the seed and the step alone, so every variant reads the same
tokens and a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from freeatten_core.basics.devices import device_name
from freeatten_core.basics.distributed import ALONE, Ranks, lost_rank
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import SavedElsewhereError, check_makeable, locked
from freeatten_core.basics.version import source_digest
from freeatten_core.data.prepared import Corpus
from freeatten_core.models.checkpoint import save_checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.ops.definitions import own_function
from freeatten_core.results.cards import card
from freeatten_core.variants.variant import Variant

from .batches import Batches, BatchSource
from .forecast import check_fits
from .objective import Objective
from .recipe import Recipe
from .reports import TIMED, WARM_UP, Progress, Reports
from .sharding import drawn_anew, whole_model
from .start import Start
from .state import KeptState, kept_progress, state_path
from .updates import Updates, check_optimizer

__all__ = ["check_run", "finished", "fit", "reserved", "train"]


def train(
    variant: Variant,
    corpus: Corpus,
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None] = lambda _: None,
    ranks: Ranks = ALONE,
    shard: bool = False,
    start: Start | None = None,
) -> Path:
    """Train one variant and save it as a checkpoint folder.

    A run that finds its own state goes on from there; on a CPU to the same weights, bit for bit.

    Args:
        variant: without modifiers.
        corpus: prepared text; its tokenizer becomes the checkpoint's.
        out: the checkpoint folder; it appears when training is done.
        recipe: plain values.
        device: CPU or CUDA.
        command: how to run this again, for the model card.
        report: called at every evaluation.
        ranks: who computes a part of every batch, within `joined_ranks`. Rank 0 alone writes.
        shard: spread the model over the ranks, because it does not fit.
        start: what is trained on; the weights that it lacks are drawn. Without it all are.

    Raises:
        UsageError: `out` is taken, its state is of another run, `variant` has a modifier, one
            process is to shard, or `variant` has no place for the weights of `start`.
        SavedElsewhereError: `out` was taken meanwhile; the checkpoint is whole beside it.
        ContentError: the disk is full, or a loss is not finite.
    """
    recipe = replace(recipe, vocab_size=corpus.tokenizer.get_vocab_size())
    with reserved(variant, out, ranks):
        batches, read = Batches(corpus, recipe, device, ranks.shard), {"text": corpus.about}
        model, about = fit(
            *(variant, batches, read, out, recipe),
            device=device,
            command=command,
            report=report,
            ranks=ranks,
            shard=shard,
            start=start,
        )
        if not ranks.writes:
            return out
        with finished(out):
            save_checkpoint(
                out,
                model,
                corpus.tokenizer,
                seed=recipe.seed,
                steps=recipe.steps,
                curve=about,
                card=card(variant, about, results={}),
            )
    return out


def fit(
    variant: Variant,
    source: BatchSource,
    read: Mapping[str, Any],
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None],
    ranks: Ranks = ALONE,
    shard: bool = False,
    start: Start | None = None,
) -> tuple[Model, dict[str, Any]]:
    """Search a learning rate, train, and say how: what `train` does before it saves.

    Args:
        source: batches on `device`, of this rank's shard.
        read: what the source draws from, as JSON; a state of another is refused.
        out: where the checkpoint will be; the state of the run is kept beside it.

    Returns:
        The model, and what belongs into `curve.json`.

    Raises:
        UsageError: the state beside `out` is that of another run, or there is not enough memory,
            with the numbers, or the ranks were asked for different things, or `variant` has no
            place for the weights of `start`.
        ContentError: the disk is full, a loss is not finite, or another rank is gone.
    """
    read = {**read, **own_function.described(variant), **_begun(start, recipe.config(variant))}
    check_optimizer(recipe, shard=shard)
    check_fits(recipe, variant, device, ranks, shard=shard)
    identity = {"variant": str(variant), **read, "recipe": asdict(recipe)}
    versions = {"source code": source_digest(), "torch": torch.__version__}
    ranks.check_agree({**identity, "shard": shard, **versions})
    kept = KeptState(state_path(out), identity, ranks)
    model = Model(recipe.config(variant))
    model = model if shard else model.to(device)
    run = _Run(model, source, recipe, kept, report, ranks, device if shard else None, start)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _telling_what_is_kept(out):
        run.search()
        run.train()
        trained = whole_model(run.model)
    about = {
        "recipe": asdict(replace(recipe, warmup=recipe.warmup_steps(recipe.steps))),
        "learning_rate": run.peak,
        "searched": run.searched,
        "curve": kept.state.curve,
        "seconds": round(kept.state.seconds, 1),
        "device": device_name(device),
        **({} if ranks.count == 1 else {"ranks": ranks.count, "shard": shard}),
        "torch": torch.__version__,
        "command": command,
        **read,
    }
    return trained, about


def _begun(start: Start | None, config: ModelConfig) -> dict[str, Any]:
    """What a training says of what it begins with, if that is a checkpoint; it must fit."""
    if start is None:
        return {}
    start.check(config)
    return {"from": start.about}


@contextmanager
def _telling_what_is_kept(out: Path) -> Iterator[None]:
    """Around a training, which can be stopped or lose a rank."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(kept_progress(out))
        raise
    except RuntimeError as error:
        if not lost_rank(error):
            raise
        raise ContentError(f"another of the ranks has ended; {kept_progress(out)}") from error


def check_run(variant: Variant, out: Path) -> None:
    """What can be refused before text is prepared.

    Raises:
        UsageError: `out` is taken or cannot be made, or a modifier is given.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name a folder that does not")
    check_makeable(out)
    if variant.modifiers:
        raise UsageError(f"{variant} is for inference; train {variant.trained}")


@contextmanager
def reserved(variant: Variant, out: Path, ranks: Ranks = ALONE) -> Iterator[None]:
    """`out` for one training alone, which its rank 0 has for all; blocks can be nested.

    Raises:
        UsageError: as `check_run`, or another training has it.
    """
    if not ranks.writes:
        yield
        return
    check_run(variant, out)
    busy = f"another training makes {out} now; wait until it has, or name another folder"
    with locked(out, busy):
        yield


@contextmanager
def finished(out: Path) -> Iterator[None]:
    """Around the saving of a checkpoint, after which its state goes, wherever it was saved."""
    try:
        yield
    except SavedElsewhereError:
        shutil.rmtree(state_path(out), ignore_errors=True)
        raise
    shutil.rmtree(state_path(out), ignore_errors=True)


class _Run:
    """The loop: searches a learning rate, trains, evaluates, reports and keeps its state."""

    def __init__(
        self,
        model: Model,
        source: BatchSource,
        recipe: Recipe,
        kept: KeptState,
        report: Callable[[Progress], None],
        ranks: Ranks = ALONE,
        shard_on: torch.device | None = None,
        start: Start | None = None,
    ) -> None:
        self.model, self._recipe, self._kept, self._start = model, recipe, kept, start
        given = recipe.seed, recipe.parts, ranks, shard_on
        self._objective = Objective(model, source, *given)
        self._reports = Reports(recipe, report, ranks)

    @property
    def peak(self) -> float:
        """The learning rate chosen: the best searched, or the only one."""
        searched = self._kept.state.searched
        if not searched:
            return self._recipe.learning_rates[0]
        finite = {rate: loss for rate, loss in searched.items() if math.isfinite(loss)}
        if not finite:
            raise ContentError(f"every learning rate diverged: {searched}")
        return float(min(finite, key=lambda rate: finite[rate]))

    @property
    def searched(self) -> dict[str, float | None]:
        """Validation loss by learning rate, None where it is not finite."""
        found = self._kept.state.searched
        return {rate: loss if math.isfinite(loss) else None for rate, loss in found.items()}

    def search(self) -> None:
        """Try each learning rate in a short run of its own schedule."""
        rates, searched = self._recipe.learning_rates, self._kept.state.searched
        if len(rates) < 2:
            return
        for rate in rates:
            if repr(rate) in searched:
                continue
            updates = self._begin(rate, self._recipe.search_steps)
            self._reports.begin()
            for step in range(updates.steps):
                self._step(updates, step)
            searched[repr(rate)] = self._objective.validation()
            self._reports.send("search", updates.steps, updates.steps, rate, searched[repr(rate)])
            self._kept.save({})

    def train(self) -> None:
        """Train from the first step, or from where the state was kept."""
        recipe, state = self._recipe, self._kept.state
        updates = self._begin(self.peak, recipe.steps)
        if state.step:
            updates.go_on(state.step)
            self._kept.load(updates.tensors())
        self._reports.begin()
        for done in range(state.step + 1, recipe.steps + 1):
            self._step(updates, done - 1)
            if recipe.evaluate_every > WARM_UP + TIMED:  # or the first evaluation tells it
                self._reports.start(done, recipe.steps, updates.peak)
            if done % recipe.evaluate_every == 0 or done == recipe.steps:
                self._evaluate(updates, done)
                due = done // recipe.save_every > state.step // recipe.save_every
                if due and done < recipe.steps:
                    state.step = done
                    self._kept.save(updates.tensors())

    def _begin(self, peak: float, steps: int) -> Updates:
        """Weights as the seed draws them, or those of what is trained on."""
        recipe = self._recipe
        drawn_anew(self.model, recipe.seed, recipe.initial_deviation, self._start)
        return Updates(self.model, self._recipe, peak, steps)

    def _step(self, updates: Updates, step: int) -> None:
        """Gradients of the step's batch, the mean over the ranks, then one update."""
        self._reports.add(self._objective.gradients(step, updates.steps))
        updates.apply(step)

    def _evaluate(self, updates: Updates, step: int) -> None:
        """Report, and put the losses on the curve, if they are finite."""
        validation = self._objective.validation()
        entry, seconds = self._reports.send("train", step, updates.steps, updates.peak, validation)
        self._kept.state.curve.append(entry)
        self._kept.state.seconds += seconds
        self._check_finite(entry)
        self._reports.begin()

    def _check_finite(self, entry: Mapping[str, float]) -> None:
        for name in ("loss", "validation"):
            if not math.isfinite(entry[name]):
                what = "training" if name == "loss" else name
                raise ContentError(
                    f"{self.model.config.variant} diverged: at step {entry['step']:,} its {what} "
                    f"loss is {entry[name]}, which is not finite; give a learning rate (--lr) "
                    f"below {self.peak:g}"
                )
