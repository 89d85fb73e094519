"""The state of a training run: what a killed one needs to go on to the same weights.

It is a folder beside the output with a folder for every save, of which a whole one has a number for
its name. `torch.distributed.checkpoint` writes the tensors, in safetensors: every rank its part,
and any number of ranks reads them again.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import ContentError, UsageError, out_of_memory, reason_of
from freeatten_core.basics.files import write_text
from freeatten_core.basics.kept import differences

__all__ = [
    "ABOUT",
    "KeptState",
    "State",
    "kept_folder",
    "kept_progress",
    "state_path",
    "write_tensors",
]

STATE = "training-state"
"""Beside the output folder while a run is under way; removed when it is done."""
ABOUT = "state.json"
"""In a save: what is no tensor."""


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


def kept_folder(path: Path) -> Path | None:
    """The last whole save in a state's folder, if there is one.

    Raises:
        ContentError: the path is no folder.
    """
    if not path.exists():
        return None
    if not path.is_dir():
        raise ContentError(f"{path} is not a training state; remove it to start again")
    return max((each for each in path.iterdir() if each.name.isdecimal()), default=None)


class KeptState:
    """The state of one run and the folder it is kept in, which all ranks write and read.

    Raises:
        UsageError: the state there is of another run, with what differs, or of an earlier version,
            or not all ranks see the same one.
        ContentError: it is damaged.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        """`identity` is all that shapes the run, as JSON."""
        _check_no_earlier(path)
        self._path, self._identity, self._ranks = path, identity, ranks
        self._kept = kept_folder(path)
        self.state = State() if self._kept is None else _checked(path, self._kept, identity)
        ranks.check_agree({f"the state in {path}": asdict(self.state)})

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill tensors, which can be parts, with what was saved of the same names.

        Raises:
            ContentError: it is damaged.
        """
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        assert self._kept is not None
        reader = HuggingFaceStorageReader(path=str(self._kept))
        alone = self._ranks.count == 1
        try:
            with _unlogged():  # what is raised says it
                _checkpointed(lambda: load(dict(tensors), storage_reader=reader, no_dist=alone))
        except Exception as error:  # the libraries raise types of their own for a damaged file
            if out_of_memory(error):
                raise  # the state is whole: nobody is to be told to remove it
            raise _damaged(self._path, "its tensors cannot be read") from error

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep the state with the tensors of its step in place of the earlier one, or leave that.

        Raises:
            ContentError: the disk is full or the folder cannot be written.
        """
        number = 1 if self._kept is None else 1 + int(self._kept.name)
        place = self._path / f"{number:08}"
        temporary = self._path / f".{place.name}"
        try:
            self._of_one(lambda: _emptied(temporary))
            write_tensors(tensors, temporary, self._ranks)
            self._of_one(lambda: self._settle(temporary, place))
        except OSError as error:
            raise ContentError(f"cannot write {self._path}: {reason_of(error)}") from error
        finally:
            if self._ranks.writes:
                shutil.rmtree(temporary, ignore_errors=True)
                with suppress(OSError):  # an earlier save is in it
                    self._path.rmdir()
        self._kept = place

    def _of_one(self, work: Callable[[], None]) -> None:
        """What the rank that writes does, and all wait for."""
        self._ranks.shared(lambda _: work() if self._ranks.writes else None)

    def _settle(self, temporary: Path, place: Path) -> None:
        """Make what was written the last save, and the only one."""
        about = {"identity": self._identity, "state": asdict(self.state)}
        write_text(temporary / ABOUT, json.dumps(about))
        temporary.rename(place)
        for old in self._path.iterdir():
            if old != place:
                shutil.rmtree(old, ignore_errors=True)


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Write tensors that each rank has, or has its part of, into a folder.

    Raises:
        OSError: on every rank, of the first that failed.
    """
    if not tensors:
        return
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=True)
    _checkpointed(lambda: save(dict(tensors), storage_writer=writer, no_dist=ranks.count == 1))


def _checkpointed(work: Callable[[], object]) -> None:
    """Do work of `torch.distributed.checkpoint`; of what failed on any rank, raise the first."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():
            # said of every process that is alone, which is what it was told
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            work()
    except CheckpointException as failed:
        raise next(iter(failed.failures.values()))[0] from failed


@contextmanager
def _unlogged() -> Iterator[None]:
    """Nothing is logged meanwhile: the library does it by the root logger, with a traceback."""
    root, aside, were = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(aside)  # or the first warning would give it one that stays
    logging.disable()
    try:
        yield
    finally:
        logging.disable(were)
        root.removeHandler(aside)


def _emptied(folder: Path) -> None:
    """An empty folder in place of what a killed run has left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def kept_progress(out: Path) -> str:
    """What a stopped run of `out` has kept, for whoever stopped it.

    Raises:
        ContentError: it is damaged.
    """
    path = state_path(out)
    kept = kept_folder(path)
    state = State() if kept is None else _read(path, kept)[0]
    if state.step:
        found = f"step {state.step:,} is kept"
    elif state.searched:
        found = f"the trials of lr {', '.join(state.searched)} are kept"
    else:
        return "stopped before the first step was kept; the same command starts again"
    return f"stopped; {found}, and the same command goes on from there"


def _checked(path: Path, kept: Path, identity: Mapping[str, Any]) -> State:
    state, was = _read(path, kept)
    differing = differences(was, json.loads(json.dumps(identity)))
    if differing:
        raise UsageError(
            f"{path} is the state of another run: {differing}; finish that run, or remove the "
            "folder to start again"
        )
    return state


def _read(path: Path, kept: Path) -> tuple[State, Any]:
    """State and identity of a save."""
    try:
        about = json.loads((kept / ABOUT).read_text(encoding="utf-8"))
        return State(**about["state"]), about["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _check_no_earlier(path: Path) -> None:
    """Whether no run of a version that kept its state in one file is under way."""
    earlier = path.with_name(f"{path.name}.safetensors")
    if earlier.exists():
        raise UsageError(
            f"{earlier} is the state of an earlier version; finish the run with that version, or "
            "remove the file to start again"
        )


def _damaged(path: Path, found: object) -> ContentError:
    return ContentError(f"{path} is not a training state: {found}; remove it to start again")
