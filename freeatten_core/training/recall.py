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

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checkpoint import (
    CONFIG,
    RECALL_MODELS,
    TASK_FILES,
    check_files,
    load_model,
    locate,
    read_config,
    read_task,
    save_checkpoint,
)
from .errors import ContentError, UsageError
from .model import Model, ModelConfig
from .training import (
    DRAWN_AHEAD,
    UNSCORED,
    Progress,
    Recipe,
    finished,
    fit,
    reserved,
)
from .variants import Variant

KIND = "recall"
LARGEST = 1 << 12
"""Above this, a number of keys, values, fillers or pairs is a mistake."""

TRAINING, VALIDATION, TEST = range(3)
"""Part of the key that sequences are drawn with, so that no part repeats another."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RecallTask:
    """The sizes of the task. Tokens are numbered: fillers, pairs, query keys, answers."""

    keys: int = 32
    values: int = 16
    fillers: int = 64
    pairs: int = 16
    """In one sequence, of different keys."""

    @property
    def first_pair(self) -> int:
        return self.fillers

    @property
    def first_query(self) -> int:
        return self.first_pair + self.keys * self.values

    @property
    def first_answer(self) -> int:
        return self.first_query + self.keys

    @property
    def vocab_size(self) -> int:
        return self.first_answer + self.values

    @property
    def shortest(self) -> int:
        """The least length: all pairs in its first half, all queries in its second."""
        return 2 * self.pairs

    def as_json(self) -> dict[str, Any]:
        return {"kind": KIND, **asdict(self)}


@dataclass(frozen=True)
class Sequences:
    """Sequences of one length, and what is asked in them."""

    tokens: Integers
    """(count, length)."""
    queries: Integers
    """Positions of the queries, ascending, (count, pairs)."""
    answers: Integers
    """The tokens that answer them, (count, pairs)."""
    distances: Integers
    """How far back the pair of each query is, (count, pairs)."""

    def targets(self) -> Integers:
        """(count, length): the answer where there is a query, else `UNSCORED`."""
        targets = np.full_like(self.tokens, UNSCORED)
        np.put_along_axis(targets, self.queries, self.answers, axis=1)
        return targets


def draw(task: RecallTask, length: int, count: int, key: tuple[int, ...]) -> Sequences:
    """Sequences that depend on the arguments alone.

    Args:
        key: numbers, of which other ones give other sequences.

    Raises:
        UsageError: a length that cannot hold the pairs and the queries.
    """
    if length < task.shortest:
        raise UsageError(
            f"recall of {task.pairs} pairs needs at least {task.shortest} tokens; the length is "
            f"{length}"
        )
    rng = np.random.default_rng(key)
    half = length // 2
    tokens = rng.integers(0, task.fillers, (count, length))
    keys = _places(rng, count, task.keys, task.pairs, in_order=False)
    values = rng.integers(0, task.values, (count, task.pairs))
    shown = _places(rng, count, half, task.pairs, in_order=True)
    asked = half + _places(rng, count, length - half, task.pairs, in_order=True)
    which = _places(rng, count, task.pairs, task.pairs, in_order=False)
    np.put_along_axis(tokens, shown, task.first_pair + keys * task.values + values, axis=1)
    queries = task.first_query + np.take_along_axis(keys, which, axis=1)
    np.put_along_axis(tokens, asked, queries, axis=1)
    return Sequences(
        tokens,
        asked,
        task.first_answer + np.take_along_axis(values, which, axis=1),
        asked - np.take_along_axis(shown, which, axis=1),
    )


def _places(
    rng: np.random.Generator, count: int, among: int, wanted: int, *, in_order: bool
) -> Integers:
    """`wanted` different numbers below `among` in each of `count` rows."""
    drawn = np.argsort(rng.random((count, among)), axis=1)[:, :wanted]
    return np.sort(drawn, axis=1) if in_order else drawn


# Training

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
    """Sequences on the device: int (batch, 2, length), tokens and targets."""

    def __init__(self, task: RecallTask, recipe: Recipe, device: torch.device) -> None:
        self._task, self._recipe, self._device = task, recipe, device
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
        both = np.stack([drawn.tokens, drawn.targets()], axis=1)
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
        from .cards import recall_card

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


# Checkpoints


@dataclass(frozen=True)
class RecallCheckpoint:
    """A model trained on the task."""

    name: str
    """The shipped name, hub repository or folder it was loaded from."""
    config: ModelConfig
    model: Model
    task: RecallTask
    folder: Path


def load_recall(source: str | Path) -> RecallCheckpoint:
    """Load a shipped name (or a variant's name), a folder, or a Hugging Face repository.

    Raises:
        UsageError: nothing of that name exists, or it is a model that reads text.
        ContentError: it exists and is not a checkpoint in this format, strictly.
    """
    name, folder = locate(source, RECALL_MODELS)
    check_files(name, folder, [CONFIG], TASK_FILES)
    values = read_task(folder / CONFIG)
    if values is None:
        raise UsageError(
            f"checkpoint {name} was trained on text and knows nothing of the recall task; "
            "freeatten retrieve --task copy measures it"
        )
    check_files(name, folder, TASK_FILES, TASK_FILES)
    task = read_recall_task(folder / CONFIG, values)
    config = read_config(folder / CONFIG)
    if config.vocab_size != task.vocab_size:
        raise ContentError(
            f"checkpoint {name}: the task has {task.vocab_size} tokens, the model "
            f"{config.vocab_size}"
        )
    return RecallCheckpoint(name, config, load_model(folder, config, "cpu"), task, folder)


def read_recall_task(path: Path, values: Mapping[str, Any]) -> RecallTask:
    """The task in a config.

    Raises:
        ContentError: another task, or a size out of range.
    """
    sizes = {name: size for name, size in values.items() if name != "kind"}
    if values.get("kind") != KIND or sizes.keys() != asdict(RecallTask()).keys():
        raise ContentError(
            f"{path}: task is {dict(values)!r}; it must be like {RecallTask().as_json()!r}"
        )
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ContentError(
                f"{path}: the task's {name} is {size!r}; it must be a whole number from 1 to "
                f"{LARGEST}"
            )
    task = RecallTask(**sizes)
    if task.pairs > task.keys:
        raise ContentError(
            f"{path}: the task has {task.pairs} pairs of different keys, and {task.keys} keys"
        )
    return task
