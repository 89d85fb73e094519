"""The state of a training run: what a killed one needs to go on to the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import replacing
from freeatten_core.basics.kept import differences

__all__ = ["KeptState", "State", "kept_progress", "load_state", "save_state", "state_path"]

STATE = "training-state.safetensors"
"""Beside the output folder while a run is under way; removed when it is done."""


@dataclass
class State:
    """How far a run is, beside its weights."""

    searched: dict[str, float] = field(default_factory=dict)
    """Validation loss by learning rate."""
    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def state_path(out: Path) -> Path:
    """Where the state of a run is kept until it is done."""
    return out.with_name(f".{out.name}.{STATE}")


class KeptState:
    """The state of one run and the file it is kept in, which rank 0 writes and all read.

    It holds whole tensors, so that any number of ranks can go on from it.

    Raises:
        UsageError, ContentError: as `load_state`, if the file is there; UsageError also if not all
            ranks see the same file.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        """`identity` is all that shapes the run, as JSON."""
        self._path, self._identity, self._ranks = path, identity, ranks
        self.state, self._tensors = State(), dict[str, Tensor]()
        if path.exists():
            self.state, self._tensors = load_state(path, identity)
        ranks.check_agree({f"the state in {path}": asdict(self.state)})

    def take_tensors(self) -> dict[str, Tensor]:
        """What was saved with the state; once, after which its memory is free."""
        tensors, self._tensors = self._tensors, {}
        return tensors

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the state with the tensors of its step; errors as `save_state`."""
        if self._ranks.writes:
            save_state(self._path, self.state, tensors, self._identity)


def save_state(
    path: Path, state: State, tensors: Mapping[str, Tensor], identity: Mapping[str, Any]
) -> None:
    """Write a state, or leave the earlier one.

    Args:
        identity: all that shapes the run, as JSON.

    Raises:
        ContentError: the disk is full or the folder cannot be written.
    """
    meta = {"identity": json.dumps(identity), "state": json.dumps(asdict(state))}
    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=meta)
        except SafetensorError as error:  # its own type for a full disk
            raise ContentError(f"cannot write {path}: {error}") from error


def load_state(path: Path, identity: Mapping[str, Any]) -> tuple[State, dict[str, Tensor]]:
    """What `save_state` wrote.

    Raises:
        UsageError: it is the state of another run; says what differs.
        ContentError: it is damaged.
    """
    state, kept, tensors = _read(path)
    differing = differences(kept, json.loads(json.dumps(identity)))
    if differing:
        raise UsageError(
            f"{path} is the state of another run: {differing}; finish that run, or remove the "
            "file to start again"
        )
    return state, tensors


def kept_progress(out: Path) -> str:
    """What a stopped run of `out` has kept, for whoever stopped it; errors as `load_state`."""
    path = state_path(out)
    state = _read(path)[0] if path.exists() else State()
    if state.step:
        kept = f"step {state.step:,} is kept"
    elif state.searched:
        kept = f"the trials of lr {', '.join(state.searched)} are kept"
    else:
        return "stopped before the first step was kept; the same command starts again"
    return f"stopped; {kept}, and the same command goes on from there"


def _read(path: Path) -> tuple[State, Any, dict[str, Tensor]]:
    """State, identity and tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return State(**json.loads(meta["state"])), json.loads(meta["identity"]), tensors
    except Exception as error:  # a damaged file: SafetensorError, JSON's, KeyError, TypeError
        raise ContentError(
            f"{path} is not a training state: {error}; remove it to start again"
        ) from error
