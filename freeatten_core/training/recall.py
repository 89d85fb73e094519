"""Associative recall: a synthetic task, the small models trained on it, and their checkpoints.

After multi-query associative recall (MQAR, arXiv 2312.04927), with one change. There, a pair is a
key and a value in two tokens, so that a model needs a head that looks one token back before it can
look anything up. Here a pair is one token (there is one for every key and value), so nothing is
asked but to find it: the sequence is filler in random order, in its first half `pairs` tokens of
different keys at random places, in its second half each of those keys once, alone, as a query. At
a query the answer is the value that its key was paired with; nothing else is scored. An answer is
never shown, and a guess is right once in `values` times.

The number of pairs and of queries is the same at every length: a longer sequence has more filler
and larger distances, and asks the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from freeatten_core.basics.shards import WHOLE, Shard
from freeatten_core.data.recall_task import TRAINING, VALIDATION, RecallTask, draw
from freeatten_core.models.checkpoint import save_checkpoint
from freeatten_core.variants.variant import Variant

from .batches import DRAWN_AHEAD, check_shares
from .recipe import Recipe
from .reports import Progress
from .run import finished, fit, reserved

__all__ = ["RECIPE", "RecallBatches", "train_recall"]

RECIPE = Recipe(
    train_length=256,
    width=64,
    layers=2,
    heads=4,
    kv_heads=4,
    mlp_width=128,
    vocab_size=RecallTask().vocab_size,
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


class RecallBatches:
    """Sequences on the device: int (batch / shards, 2, length), tokens and targets."""

    def __init__(
        self, task: RecallTask, recipe: Recipe, device: torch.device, shard: Shard = WHOLE
    ) -> None:
        check_shares(recipe.batch, 1, shard)
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
        drawn = draw(self._task, recipe.train_length, recipe.batch, key)
        both = np.stack([drawn.tokens, drawn.targets()], axis=1)[self._part]
        return torch.from_numpy(both.astype(np.int32))


def train_recall(
    variant: Variant,
    task: RecallTask,
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train one variant on the task and save it as a checkpoint folder, without a tokenizer.

    Args and errors: as `training.train`; UsageError also for a training length that is too short.
    """
    recipe = replace(recipe, vocab_size=task.vocab_size)
    draw(task, recipe.train_length, 1, (0,))  # a length too short is refused here
    with reserved(variant, out):
        model, about = fit(
            variant,
            RecallBatches(task, recipe, device),
            {"task": task.as_json()},
            out,
            recipe,
            device=device,
            command=command,
            report=report,
        )
        from freeatten_core.results.cards import recall_card

        with finished(out):
            save_checkpoint(
                out,
                model,
                None,
                seed=recipe.seed,
                steps=recipe.steps,
                curve=about,
                card=recall_card(variant, about, result=None),
                task=task.as_json(),
            )
    return out
