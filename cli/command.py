"""The command that reproduces what is on screen."""

from __future__ import annotations

import shlex
import sys


def command_line() -> str:
    """This call, as it can be typed again."""
    return shlex.join(["freeatten", *sys.argv[1:]])
