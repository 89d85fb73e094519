"""The two kinds of failure a user can meet; both are one clear sentence."""

from __future__ import annotations

__all__ = [
    "FAILURE",
    "SIGNALLED",
    "ContentError",
    "UsageError",
    "interruption",
    "out_of_memory",
    "reason_of",
    "sentence_and_code",
]

WRONG_CALL, FAILURE, INTERRUPTED = 2, 1, 130
"""Exit codes."""
SIGNALLED = 128
"""Plus the number of a signal: the exit code of what it ended."""
OUT_OF_MEMORY = "out of memory; use a shorter length, fewer texts or a smaller model"


class UsageError(ValueError):
    """What was asked for is wrong: an option, a name, a path, a text that is too short."""


class ContentError(RuntimeError):
    """What was asked for exists and cannot be used: unreadable content, disk, memory."""


def sentence_and_code(error: BaseException) -> tuple[str, int] | None:
    """The sentence and exit code for what a user can cause; None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return interruption(error)
    if isinstance(error, UsageError):
        return str(error), WRONG_CALL
    if out_of_memory(error):
        return OUT_OF_MEMORY, FAILURE
    if isinstance(error, OSError):
        return _of_system(error), FAILURE
    return (str(error), FAILURE) if isinstance(error, ContentError) else None


def _of_system(error: OSError) -> str:
    """What failed and why, without the number that Python puts before it."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def reason_of(error: Exception) -> str:
    """Why something failed, to end a sentence that names the file: the system's words where it has
    some, without the number and the path that Python puts around them."""
    return str(getattr(error, "strerror", None) or error)


def interruption(error: KeyboardInterrupt) -> tuple[str, int]:
    """The sentence and exit code of Ctrl-C or a signal.

    A note says what is kept; an argument is the number of the signal, if not Ctrl-C's.
    """
    notes = getattr(error, "__notes__", ["stopped; nothing half-written was left"])
    is_signal = bool(error.args) and isinstance(error.args[0], int)
    return notes[0], SIGNALLED + error.args[0] if is_signal else INTERRUPTED


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's own error, or what torch raises on a CPU or GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
