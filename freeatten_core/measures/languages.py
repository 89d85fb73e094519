"""Regular languages: are states still tracked in strings longer than any trained on?

Of every attention a small model is trained on strings of up to 40 symbols and asked about longer
ones. A score is the mean accuracy over the lengths 41 to 500, as in the source (Delétang et al.,
arXiv 2207.02098); a model that goes on where its automaton would has 100 %.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.basics.errors import UsageError, sentence_and_code
from freeatten_core.basics.files import check_makeable
from freeatten_core.basics.progress import Watch
from freeatten_core.basics.seeds import check_seed
from freeatten_core.data.tasks.languages import LANGUAGES, LanguageTask
from freeatten_core.data.tasks.task import TEST
from freeatten_core.models.catalogue import slug
from freeatten_core.models.decoder import Model
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.shares import wilson
from freeatten_core.training.forecast import forecast
from freeatten_core.training.recipe import Recipe
from freeatten_core.training.reports import Progress
from freeatten_core.training.tasks import RECIPES, kept_task, trained_task
from freeatten_core.variants.variant import Variant

from .each_row import each_row
from .scoring import pass_cost
from .tasks import right_answers

__all__ = ["LONGEST", "LanguagesRequest", "accuracy_of_lengths", "measure_languages"]

SCHEMA = 1
LONGEST = 500
"""Symbols of the longest string that is asked about, as in the source."""
BACKWARD = 3
"""The cost of a training step, in forward passes."""


@dataclass(frozen=True)
class LanguagesRequest:
    """What to train and ask. Fields as the options of `freeatten languages`."""

    variants: Sequence[Variant]
    out: Path
    """A folder that keeps a model for every variant, language and seed."""
    command: str
    languages: Sequence[str] = tuple(LANGUAGES)
    recipe: Recipe = RECIPES["parity-check"]
    longest: int = LONGEST
    samples: int = 32
    """Strings of every length."""
    seeds: int = 1
    """Models of every variant and language, with seeds from that of the recipe on."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def trained_to(self) -> int:
        """Symbols of the longest string that is trained on."""
        return self.recipe.train_length - 1

    @property
    def edges(self) -> list[int]:
        """The largest length of each bin: halves of what is trained on, then as wide."""
        width = max(1, self.trained_to // 2)
        inner = range(self.trained_to + width, self.longest, width)
        return sorted({width, self.trained_to, *inner, self.longest})

    @property
    def model_seeds(self) -> list[int]:
        return [self.recipe.seed + index for index in range(self.seeds)]


def measure_languages(request: LanguagesRequest, watch: Watch | None = None) -> ResultDict:
    """Train what is not in the folder yet, and ask every model the same strings.

    A training that diverges leaves its cell empty, with the reason; the others go on.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: an option out of range, a folder that cannot be written, or a model in it that
            was trained otherwise; before anything is trained.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    _check(request)
    _foresee(request, watch)
    rows = each_row(request.variants, lambda variant: _row(request, variant, watch))
    header = {
        "schema": SCHEMA,
        "trained_to": request.trained_to,
        "lengths": request.edges,
        "languages": {name: LANGUAGES[name].chance for name in request.languages},
        "samples": request.samples,
        "seed": request.recipe.seed,
        "seeds": request.model_seeds,
        "dtype": "float32",
        "recipe": asdict(request.recipe),
        **run_facts(request.device, request.command, time.perf_counter() - started),
    }
    return rows.result(header)


def accuracy_of_lengths(
    model: Model,
    task: LanguageTask,
    lengths: Sequence[int],
    samples: int,
    key: tuple[int, ...],
    *,
    device: torch.device,
    advance: Callable[[float], None] = lambda _: None,
) -> NDArray[np.bool_]:
    """Whether strings of each length are answered right, (lengths, samples).

    Only tokens that answer are a choice, as in the source, so that a guess has the stated chance.

    Args:
        key: numbers that the strings depend on, with the other arguments alone.

    Raises:
        ContentError: logits that are not finite.
    """
    drawn = task.strings(np.repeat(lengths, samples), np.random.default_rng(key))
    right = right_answers(
        model, drawn, device=device, advance=advance, first_answer=task.first_answer
    )
    return right.reshape(len(lengths), samples)


def _check(request: LanguagesRequest) -> None:
    for seed in request.model_seeds:
        check_seed(seed)
    if request.longest <= request.trained_to:
        raise UsageError(
            f"the longest string asked about has {request.longest} symbols; it must be longer "
            f"than those trained on, {request.trained_to}"
        )
    for name in request.languages:
        if name not in LANGUAGES:
            raise UsageError(f"no language {name!r}; there are {', '.join(LANGUAGES)}")


def _foresee(request: LanguagesRequest, watch: Watch) -> None:
    """The cost of the whole, and on a CPU how long its trainings will take; what is there fits."""
    check_makeable(request.out)
    missing = []
    for variant in dict.fromkeys(each.trained for each in request.variants):
        for name, seed in product(request.languages, request.model_seeds):
            folder = _folder(request, variant, name, seed)
            if folder.exists():
                recipe = replace(request.recipe, seed=seed)
                kept_task(variant, LANGUAGES[name], folder, recipe)  # or it is refused
            else:
                missing.append(variant)
    asked = len(request.variants) * len(request.languages) * request.seeds
    watch.total(len(missing) * _training_cost(request) + asked * _asking_cost(request))
    if watch.seconds is None:
        return
    seconds = [forecast(request.recipe, each, request.device).seconds for each in missing]
    if seconds and None not in seconds:
        watch.seconds(sum(filter(None, seconds)))


def _training_cost(request: LanguagesRequest) -> float:
    return BACKWARD * request.recipe.steps * _step_cost(request.recipe)


def _step_cost(recipe: Recipe) -> float:
    return pass_cost(recipe.batch, recipe.train_length)


def _asking_cost(request: LanguagesRequest) -> float:
    return sum(
        pass_cost(request.samples * len(lengths), lengths[-1] + 1) for lengths in _bins(request)
    )


def _bins(request: LanguagesRequest) -> Iterator[range]:
    for before, last in pairwise([0, *request.edges]):
        yield range(before + 1, last + 1)


def _folder(request: LanguagesRequest, variant: Variant, name: str, seed: int) -> Path:
    plain = re.sub(r"[^\w.-]", "-", slug(variant))
    return request.out / f"{plain}.{name}.{seed}"


def _row(request: LanguagesRequest, variant: Variant, watch: Watch) -> dict[str, Any]:
    """A variant's cells, with the reasons of those that failed."""
    cells = [_cell(request, variant, LANGUAGES[name], watch) for name in request.languages]
    errors = [f"{cell['language']}: {cell['error']}" for cell in cells if cell["error"]]
    row = {"variant": str(variant), "checkpoint": slug(variant), "languages": cells}
    row |= {"error": "; ".join(errors)} if errors else {}
    watch.row(row, 1, 1)
    return row


def _cell(
    request: LanguagesRequest, variant: Variant, task: LanguageTask, watch: Watch
) -> dict[str, Any]:
    """A variant's answers in one language, over its seeds."""
    answers, error = [], None
    for seed in request.model_seeds:
        try:
            answers.append(_answers(request, variant, task, seed, watch))
        except Exception as failed:  # a training that diverges is a result; a bug is raised again
            sentence = sentence_and_code(failed)
            if sentence is None:
                raise
            error = f"seed {seed}: {sentence[0]}"
    edge = request.edges.index(request.trained_to) + 1
    beyond = [np.concatenate([part.ravel() for part in each[edge:]]) for each in answers]
    within = [np.concatenate([part.ravel() for part in each[:edge]]) for each in answers]
    by_length = np.array([[part.mean() for part in each] for each in answers])
    return {
        "language": task.kind,
        **_pooled("accuracy", beyond),
        **_pooled("within", within),
        "accuracy_by_seed": [float(right.mean()) for right in beyond],
        "accuracy_by_length": by_length.mean(axis=0).tolist() if answers else None,
        "error": error,
    }


def _pooled(name: str, seeds: Sequence[NDArray[np.bool_]]) -> dict[str, Any]:
    """The share right of all strings, and its 95 % Wilson interval."""
    if not seeds:
        return {name: None, f"{name}_ci95": [None, None]}
    right = np.concatenate(seeds)
    return {
        name: float(right.mean()),
        f"{name}_ci95": [*wilson(int(right.sum()), right.size)],
    }


def _answers(
    request: LanguagesRequest, variant: Variant, task: LanguageTask, seed: int, watch: Watch
) -> list[NDArray[np.bool_]]:
    """Of one model, by bin of lengths, (lengths, samples) each."""
    done = [0]

    def report(progress: Progress) -> None:
        if progress.phase == "train":
            steps, done[0] = progress.step - done[0], progress.step
            watch.advance(BACKWARD * steps * _step_cost(request.recipe))

    checkpoint = trained_task(
        variant.trained,
        task,
        _folder(request, variant, task.kind, seed),
        replace(request.recipe, seed=seed),
        device=request.device,
        command=request.command,
        report=report,
    )
    model = checkpoint.model.with_modifiers(variant, request.longest + 1)
    # a copy: `to` changes the weights in place, and they are the checkpoint's
    model = copy.deepcopy(model).to(request.device)
    return [
        accuracy_of_lengths(
            model,
            task,
            lengths,
            request.samples,
            (request.recipe.seed, TEST, lengths[-1]),
            device=request.device,
            advance=watch.advance,
        )
        for lengths in _bins(request)
    ]
