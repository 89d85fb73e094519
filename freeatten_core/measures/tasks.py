"""Accuracy of a synthetic task against length and distance, for models trained on it."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.assets import assets
from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.basics.seeds import check_seed
from freeatten_core.basics.shards import Shard
from freeatten_core.basics.version import source_digest
from freeatten_core.data.tasks.task import TEST, Sequences, Task
from freeatten_core.models.catalogue import shipped, slug
from freeatten_core.models.decoder import Model
from freeatten_core.models.format import CONFIG, read_config
from freeatten_core.models.rows import ROWS, allowed_source
from freeatten_core.models.task_checkpoint import TaskCheckpoint, load_task
from freeatten_core.ops.definitions import own_function
from freeatten_core.results.effective import effective_length
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.shares import wilson
from freeatten_core.variants.variant import Variant, nearest

from .each_row import each_row
from .finite import no_numbers
from .scoring import Advance, pass_cost, windows_at_once

__all__ = [
    "TaskRequest",
    "TaskRow",
    "accuracy_by_distance",
    "load_task_rows",
    "measure_task",
    "right_answers",
]

SCHEMA = 3


@dataclass(frozen=True)
class TaskRow:
    """A line of the result: a checkpoint, with its variant's modifiers."""

    variant: Variant
    checkpoint: TaskCheckpoint


@dataclass(frozen=True)
class TaskRequest:
    """What to measure. Fields as the options of `freeatten retrieve --task`."""

    rows: Sequence[TaskRow]
    lengths: Sequence[int]
    command: str
    samples: int = 32
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = ALONE
    """Who asks a part of the sequences, within `joined_ranks`; all get the result."""


def load_task_rows(
    kind: str, variants: Sequence[Variant] | None, checkpoints: Sequence[str]
) -> list[TaskRow]:
    """Rows for shipped variants and for given checkpoints; all shipped if nothing is named.

    Args:
        kind: the task, one of `RETRIEVED`.

    Raises:
        UsageError: a variant without a shipped model, an unknown checkpoint, or none at all.
        ContentError: a checkpoint that cannot be used.
    """
    names = shipped(kind)
    if variants is None:
        variants = [] if checkpoints else _shipped_variants(kind, names)
        if not variants and not checkpoints:
            raise UsageError(
                f"no {kind} model is shipped here; train one with freeatten train --task {kind} "
                "--variant softmax --out NAME and pass it with --checkpoint NAME"
            )
    rows = []
    for variant in map(own_function.allow, variants):
        name = slug(variant)
        if name not in names:
            raise UsageError(
                f"no shipped {kind} model of {variant}{nearest(name, names) if names else ''}; "
                f"train one with freeatten train --task {kind} --variant {variant.trained} and "
                "pass it with --checkpoint"
            )
        # by its folder: one of the same name may lie in the current folder
        found = load_task(assets() / kind / name, kind)
        rows.append(TaskRow(variant, replace(found, name=name)))
    for source in dict.fromkeys(checkpoints):
        checkpoint = load_task(allowed_source(source), kind)
        rows.append(TaskRow(checkpoint.config.variant, checkpoint))
    return rows


def _shipped_variants(kind: str, names: Sequence[str]) -> list[Variant]:
    """The variants of shipped models: those that `compare` has rows of as there, then others."""
    order = [slug(row) for row in ROWS]
    ordered = sorted(names, key=lambda name: order.index(name) if name in order else len(order))
    return [read_config(assets() / kind / name / CONFIG).variant for name in ordered]


def measure_task(request: TaskRequest, watch: Watch | None = None) -> ResultDict:
    """Ask every row the same sequences.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: checkpoints of different tasks, a length too short for the task, a seed that
            no generator takes, fewer samples than ranks, or ranks that were asked for different
            things.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = (watch or Watch()).of_all_ranks(request.ranks.count)
    started = time.perf_counter()
    task = _common_task(request.rows)
    check_seed(request.seed)
    _check_ranks(request, task)
    drawn = {
        length: task.draw(length, request.samples, (request.seed, TEST, length))
        for length in request.lengths
    }
    cost = sum(pass_cost(request.samples, length) for length in request.lengths)
    watch.total(cost * len(request.rows))
    train_lengths = [row.checkpoint.config.train_length for row in request.rows]
    edges = _distance_edges(min(train_lengths), max(request.lengths))
    rows = each_row(
        request.rows,
        lambda row: _measure(request, row, drawn, edges, watch),
        lambda row: _missing(request, row, edges),
    )
    header = {
        "schema": SCHEMA,
        "task": task.kind,
        "train_length": train_lengths[0],
        "lengths": list(request.lengths),
        task.kind: task.as_json(),
        "chance": task.chance,
        "samples": request.samples,
        "seed": request.seed,
        "dtype": "float32",
        "distances": edges,
        **run_facts(request.device, request.command, time.perf_counter() - started),
    }
    return rows.result(header)


@torch.inference_mode()
def right_answers(
    model: Model,
    sequences: Sequences,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
    first_answer: int = 0,
) -> NDArray[np.bool_]:
    """Whether the likeliest token at each query is its answer, (count, queries).

    Args:
        model: on `device`.
        first_answer: tokens before it are no choice.
        advance: called with the cost of each pass.

    Raises:
        ContentError: logits that are not finite, of which none is the likeliest.
    """
    tokens, queries = torch.from_numpy(sequences.tokens), torch.from_numpy(sequences.queries)
    length = tokens.shape[1]
    batch = windows_at_once(device, length)
    found: list[Tensor] = []
    for part, asked in zip(torch.split(tokens, batch), torch.split(queries, batch), strict=True):
        hidden = model.hidden(part.to(device))
        index = asked.to(device)[:, :, None].expand(-1, -1, hidden.shape[-1])
        logits = model.logits(hidden.gather(1, index))
        _check_finite(logits, length)
        found.append(first_answer + logits[:, :, first_answer:].argmax(dim=-1).cpu())
        advance(pass_cost(len(part), length))
    return np.asarray(torch.cat(found).numpy() == sequences.answers)


def accuracy_by_distance(
    right: NDArray[np.bool_], distances: NDArray[np.int64], edges: Sequence[int]
) -> list[dict[str, Any]]:
    """Accuracy of the queries whose pair is at most so far away, and farther than the edge before.

    Returns:
        For each edge the `queries`, the share right and its 95 % Wilson interval; None for both
        where nothing was asked.
    """
    entries = []
    for low, high in zip([0, *edges], edges, strict=False):
        chosen = right[(distances > low) & (distances <= high)]
        accuracy, ci95 = _share(chosen) if chosen.size else (None, [None, None])
        entries.append({"queries": chosen.size, "accuracy": accuracy, "ci95": ci95})
    return entries


def _share(right: NDArray[np.bool_]) -> tuple[float, list[float]]:
    """The share of right answers and its 95 % Wilson interval."""
    return float(right.mean()), [*wilson(int(right.sum()), right.size)]


def _check_finite(logits: Tensor, length: int) -> None:
    """Of queries, (sequences, queries, tokens)."""
    bad = (~logits.isfinite()).any(dim=-1).nonzero()
    if len(bad):
        sequence, query = bad[0].tolist()
        raise ContentError(
            f"not finite: the logits at {length:,} tokens, query {query + 1} of sequence "
            f"{sequence + 1}"
        )


def _missing(request: TaskRequest, row: TaskRow, edges: Sequence[int]) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    nothing = {"queries": 0, "accuracy": None, "ci95": [None, None]}
    return {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
        **no_numbers(["accuracy"], len(request.lengths)),
        "effective_length": None,
        "by_distance": [[nothing for _ in edges] for _ in request.lengths],
    }


def _common_task(rows: Sequence[TaskRow]) -> Task:
    tasks = {row.checkpoint.task for row in rows}
    if len(tasks) > 1:
        raise UsageError(
            f"the checkpoints were trained on {tasks.pop().kind} of different sizes; measure them "
            "one at a time"
        )
    return tasks.pop()


def _distance_edges(train_length: int, longest: int) -> list[int]:
    """Half the training length, doubled up to the longest distance there is."""
    edges = [train_length // 2]
    while edges[-1] < longest:
        edges.append(2 * edges[-1])
    return edges


def _check_ranks(request: TaskRequest, task: Task) -> None:
    """Whether every rank has a sequence, and all were asked for the same."""
    request.ranks.check_enough(request.samples, "samples", "--samples")
    request.ranks.check_agree(
        {
            "task": task.as_json(),
            "rows": [str(row.variant) for row in request.rows],
            "lengths": list(request.lengths),
            "samples": request.samples,
            "seed": request.seed,
            "source code": source_digest(),
        }
    )


def _measure(
    request: TaskRequest,
    row: TaskRow,
    drawn: Mapping[int, Sequences],
    edges: Sequence[int],
    watch: Watch,
) -> dict[str, Any]:
    longest = max(request.lengths)
    model = row.checkpoint.model.with_modifiers(row.variant, longest)
    # a copy: `to` changes the weights in place, and they are the caller's checkpoint's
    model = copy.deepcopy(model).to(request.device)

    def share(shard: Shard) -> dict[int, NDArray[np.bool_]]:
        part = shard.part(request.samples)
        return {
            length: right_answers(
                model, sequences[part], device=request.device, advance=watch.advance
            )
            for length, sequences in drawn.items()
        }

    shares_of = request.ranks.shared(share)
    right = {length: np.concatenate([each[length] for each in shares_of]) for length in drawn}
    shares = [_share(right[length]) for length in request.lengths]
    accuracy, intervals = [share for share, _ in shares], [ci95 for _, ci95 in shares]
    trained = row.checkpoint.config.train_length
    entry = {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": trained,
        "accuracy": accuracy,
        "accuracy_ci95": intervals,
        "effective_length": effective_length(
            request.lengths,
            accuracy,
            trained,
            chance=row.checkpoint.task.chance,
            intervals=intervals,
        ),
        "by_distance": [
            accuracy_by_distance(right[length], drawn[length].distances, edges)
            for length in request.lengths
        ],
    }
    watch.row(entry, request.samples, request.samples)
    return entry
