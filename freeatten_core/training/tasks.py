"""Small models trained on a synthetic task, and their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.kept import differences
from freeatten_core.basics.shards import WHOLE, Shard
from freeatten_core.data.tasks.languages import LANGUAGES, LONGEST_TRAINED
from freeatten_core.data.tasks.table import TASKS
from freeatten_core.data.tasks.task import TRAINING, VALIDATION, Task
from freeatten_core.models.checkpoint import save_checkpoint
from freeatten_core.models.format import CURVE, read_json
from freeatten_core.models.task_checkpoint import TaskCheckpoint, load_task
from freeatten_core.variants.variant import Variant

from .batches import DRAWN_AHEAD, check_shares
from .recipe import Recipe
from .reports import Progress
from .run import finished, fit, reserved

__all__ = ["RECIPES", "TaskBatches", "kept_task", "train_task", "trained_task"]

_RECALL = Recipe(
    train_length=256,
    width=64,
    layers=2,
    heads=4,
    kv_heads=4,
    mlp_width=128,
    batch=128,
    steps=5_000,
    warmup=100,
    learning_rates=(5e-3, 1e-2),
    search_steps=800,
    # at a width of 64, weights of 0.02 make all scores so equal that learning does not begin
    initial_deviation=0.1,
    evaluate_every=250,
    save_every=1_000,
)
"""The recipe of the shipped models; `freeatten train --task recall` can change its values.

Four heads, because re-weighting with p = 15 puts a row's whole weight on a few keys: with one head
it found hardly any pair in 1,000 steps of 32 × 64 tokens, with two 45 %, with four 55 %.
"""

_LANGUAGE = replace(
    _RECALL,
    train_length=LONGEST_TRAINED + 1,
    layers=5,
    steps=10_000,
    learning_rates=(1e-3,),
    weight_decay=0.0,
    betas=(0.9, 0.999),
    evaluate_every=500,
)
"""Batch, rate, depth, width, optimizer and steps of the source's code and example; its heads are
eight of 8, its rate is constant, and all strings of one of its batches have one length."""

RECIPES: Mapping[str, Recipe] = {
    kind: replace(_LANGUAGE if kind in LANGUAGES else _RECALL, vocab_size=task.vocab_size)
    for kind, task in TASKS.items()
}
"""How each task is trained unless told otherwise."""


class TaskBatches:
    """Sequences on the device: int (batch / shards, 2, length), tokens and targets."""

    def __init__(
        self, task: Task, recipe: Recipe, device: torch.device, shard: Shard = WHOLE
    ) -> None:
        check_shares(recipe.batch, 1, shard, recipe.parts)
        self._task, self._recipe, self._device = task, recipe, device
        self._part = shard.part(recipe.batch)
        self._ahead, self._drawn = -1, torch.empty(0)

    def training(self, step: int) -> Tensor:
        ahead = step // DRAWN_AHEAD
        if ahead != self._ahead:
            steps = range(ahead * DRAWN_AHEAD, (ahead + 1) * DRAWN_AHEAD)
            self._drawn = torch.stack([self._batch(TRAINING, each) for each in steps])
            self._drawn = self._drawn.to(self._device)
            self._ahead = ahead
        return self._drawn[step % DRAWN_AHEAD]

    def validation(self) -> list[Tensor]:
        count = -(-self._recipe.validation_windows // self._recipe.batch)
        return [self._batch(VALIDATION, index).to(self._device) for index in range(count)]

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        both = drawn.long()
        return both[:, 0], both[:, 1]

    def _batch(self, part: int, index: int) -> Tensor:
        recipe = self._recipe
        key = (recipe.seed, part, index)
        both = self._task.training(recipe.train_length, recipe.batch, key)
        return torch.from_numpy(np.stack(both, axis=1)[self._part].astype(np.int32))


def train_task(
    variant: Variant,
    task: Task,
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None] = lambda _: None,
    ranks: Ranks = ALONE,
    shard: bool = False,
) -> Path:
    """Train one variant on a task and save it as a checkpoint folder, without a tokenizer.

    Args and errors: as `training.train`; UsageError also for a training length that is too short.
    """
    recipe = replace(recipe, vocab_size=task.vocab_size)
    task.draw(recipe.train_length, 1, (0,))  # a length too short is refused here
    with reserved(variant, out, ranks):
        model, about = fit(
            variant,
            TaskBatches(task, recipe, device, ranks.shard),
            {"task": task.as_json()},
            out,
            recipe,
            device=device,
            command=command,
            report=report,
            ranks=ranks,
            shard=shard,
        )
        if not ranks.writes:
            return out
        from freeatten_core.results.cards import task_card

        with finished(out):
            save_checkpoint(
                out,
                model,
                None,
                seed=recipe.seed,
                steps=recipe.steps,
                curve=about,
                card=task_card(variant, about, result=None),
                task=task.as_json(),
            )
    return out


def trained_task(
    variant: Variant,
    task: Task,
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None] = lambda _: None,
) -> TaskCheckpoint:
    """The model in `out`; where nothing is there yet it is trained first.

    Args and errors: as `train_task` and `kept_task`.
    """
    if not out.exists():
        train_task(variant, task, out, recipe, device=device, command=command, report=report)
    return kept_task(variant, task, out, recipe)


def kept_task(variant: Variant, task: Task, out: Path, recipe: Recipe) -> TaskCheckpoint:
    """The model in `out`.

    Raises:
        UsageError: it was trained in another way, with what differs.
        ContentError: it cannot be read.
    """
    recipe = replace(recipe, vocab_size=task.vocab_size)
    found = load_task(out, task.kind)
    asked = replace(recipe, warmup=recipe.warmup_steps(recipe.steps))
    wanted = {"variant": str(variant), "task": task.as_json(), "recipe": asdict(asked)}
    kept = {
        "variant": str(found.config.variant),
        "task": found.task.as_json(),
        "recipe": read_json(out / CURVE).get("recipe"),
    }
    differing = differences(kept, json.loads(json.dumps(wanted)))
    if differing:
        raise UsageError(
            f"{out} was trained in another way: {differing}; name another folder, or remove it"
        )
    return found
