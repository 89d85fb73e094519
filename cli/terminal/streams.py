"""Standard streams as they are found: closed, full, or of an encoding that lacks signs."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from contextlib import suppress

__all__ = ["ClosedStream", "PatientStream", "check_open", "discard_output", "prepare"]

HANDLER = "freeatten.nearest"
"""The name under which `codecs` knows `_nearest`."""
NEAREST = {
    **dict(zip("−–—±×÷Δσ…·•‖", "---~xxDs...|", strict=True)),
    **dict(zip("▼▲●■◆○□◇◁▷☆◎◈▽△", "v^o#*o#*<>*o*v^", strict=True)),
    **dict(zip("→←↑↓≤≥½Σ√∂∝✗⁻⌈⌉⌊⌋⟨⟩", "><^v<>hSVd~x-[][]<>", strict=True)),
    **dict(zip("αβγδεθλμξπτωΠ", "abgdetlmxptwP", strict=True)),
    **dict(zip("░▒▓█▀▄", ".:+###", strict=True)),
    **dict(zip("┊│┃┌┐└┘├┤┬┴┼─━╭╮╰╯", "|||++++++++" + "+--++++", strict=True)),
    **dict(zip("“”‘’«»␠", '""\'\'""_', strict=True)),
}
"""Signs of tables and charts, one character each, so that columns stay columns."""
BLANK_BRAILLE, LAST_BRAILLE = 0x2800, 0x28FF
FIRST_BYTE, LAST_BYTE = 0xDC80, 0xDCFF
"""How Python holds bytes of a file's name that are no UTF-8."""


class ClosedStream(io.TextIOBase):
    """In the place of a standard output that is closed: every write says so."""

    encoding = "utf-8"

    def write(self, _text: str) -> int:
        raise OSError(errno.EBADF, "it is closed", "standard output")


class PatientStream(io.TextIOWrapper):
    """Standard error, on which nothing depends: what it does not take is let go."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Make standard output and error such that no sign and no closed end is a traceback."""
    _occupy_closed()
    codecs.register_error(HANDLER, _nearest)
    if sys.stdout is None:
        sys.stdout = ClosedStream()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=HANDLER)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (to the end)
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = PatientStream(
            sys.stderr.buffer, sys.stderr.encoding, HANDLER, line_buffering=True
        )


def check_open() -> None:
    """Whether there is a standard output, before work is spent on what goes there.

    Raises:
        ContentError: it is closed.
    """
    from freeatten_core.basics.errors import ContentError

    if isinstance(sys.stdout, ClosedStream):
        raise ContentError(
            "standard output is closed, and the result goes there; leave it open, or send it to "
            f"{os.devnull}"
        )


def discard_output() -> None:
    """Point standard output at nothing: the interpreter writes what is left when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def _occupy_closed() -> None:
    """Open what is closed of 0, 1 and 2: the next file that is opened would be taken for it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for a character that an encoding lacks; bytes of names stay these bytes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    code = ord(character)
    if FIRST_BYTE <= code <= LAST_BYTE:
        return bytes([code - 0xDC00]), error.start + 1
    if BLANK_BRAILLE <= code <= LAST_BRAILLE:
        return (" " if code == BLANK_BRAILLE else "."), error.start + 1
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return NEAREST.get(character) or plain[:1] or "?", error.start + 1
