"""Checkpoints trained on a synthetic task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.data.tasks.table import TASKS
from freeatten_core.data.tasks.task import Task

from .catalogue import locate
from .checkpoint import load_model
from .config import ModelConfig
from .decoder import Model
from .format import CONFIG, TASK_FILES, check_files, read_config, read_task

__all__ = ["LARGEST", "TaskCheckpoint", "load_task", "read_task_sizes"]

LARGEST = 1 << 16
"""Above this, a size of a task is a mistake."""


@dataclass(frozen=True)
class TaskCheckpoint:
    """A model trained on a task."""

    name: str
    """The shipped name, hub repository or folder it was loaded from."""
    config: ModelConfig
    model: Model
    task: Task
    folder: Path


def load_task(source: str | Path, kind: str) -> TaskCheckpoint:
    """Load a shipped name (or a variant's name), a folder, or a Hugging Face repository.

    Args:
        kind: the task that it must have been trained on.

    Raises:
        UsageError: nothing of that name exists, or it is a model of text or of another task.
        ContentError: it exists and is not a checkpoint in this format, strictly.
    """
    name, folder = locate(source, kind)
    check_files(name, folder, [CONFIG], TASK_FILES)
    values = read_task(folder / CONFIG)
    if values is None:
        raise UsageError(
            f"checkpoint {name} was trained on text and knows nothing of the {kind} task; "
            "freeatten retrieve --task copy measures it"
        )
    check_files(name, folder, TASK_FILES, TASK_FILES)
    task = read_task_sizes(folder / CONFIG, values, kind)
    config = read_config(folder / CONFIG)
    if config.vocab_size != task.vocab_size:
        raise ContentError(
            f"checkpoint {name}: the task has {task.vocab_size} tokens, the model "
            f"{config.vocab_size}"
        )
    return TaskCheckpoint(name, config, load_model(folder, config, "cpu"), task, folder)


def read_task_sizes(path: Path, values: Mapping[str, Any], kind: str) -> Task:
    """The task in a config.

    Raises:
        UsageError: another task.
        ContentError: no task, or a size out of range.
    """
    usual = TASKS[kind]
    found = values.get("kind")
    if found != kind and found in TASKS:
        raise UsageError(f"{path.parent} was trained on the {found} task, not on {kind}")
    sizes = {name: size for name, size in values.items() if name != "kind"}
    if found != kind or sizes.keys() != asdict(usual).keys():
        raise ContentError(f"{path}: task is {dict(values)!r}; it must be like {usual.as_json()!r}")
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ContentError(
                f"{path}: the task's {name} is {size!r}; it must be a whole number from 1 to "
                f"{LARGEST}"
            )
    task = replace(usual, **sizes)
    refusal = task.refusal()
    if refusal is not None:
        raise ContentError(f"{path}: the task {refusal}")
    return task
