"""Checkpoints trained on associative recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.data.recall_task import KIND, LARGEST, RecallTask

from .catalogue import RECALL_MODELS, locate
from .checkpoint import load_model
from .config import ModelConfig
from .decoder import Model
from .format import CONFIG, TASK_FILES, check_files, read_config, read_task

__all__ = ["RecallCheckpoint", "load_recall", "read_recall_task"]


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
