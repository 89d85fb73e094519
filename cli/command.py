"""The command that reproduces what is on screen."""

from __future__ import annotations

import shlex
import sys


def command_line() -> str:
    """This call, as it can be typed again."""
    return " ".join(map(_quoted, ["freeatten", *sys.argv[1:]]))


def _quoted(word: str) -> str:
    """A word for a shell; line ends and bytes that are no UTF-8 as `$'\\xe9'`."""
    if word.isprintable():
        return shlex.quote(word)
    shown = (_escaped(character) for character in word)
    return f"$'{''.join(shown)}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def check_choice(option: str, value: str, legal: tuple[str, ...]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        UsageError: says what it can be.
    """
    from freeatten_core.errors import UsageError

    if value not in legal:
        raise UsageError(f"--{option} is {value!r}; it can be {', '.join(legal)}")
