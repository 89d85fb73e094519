"""The command that reproduces what is on screen."""

from __future__ import annotations

import shlex
import sys


def command_line() -> str:
    """This call, as it can be typed again."""
    return shlex.join(["freeatten", *sys.argv[1:]])


def check_choice(option: str, value: str, legal: tuple[str, ...]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        UsageError: says what it can be.
    """
    from freeatten_core.errors import UsageError

    if value not in legal:
        raise UsageError(f"--{option} is {value!r}; it can be {', '.join(legal)}")
