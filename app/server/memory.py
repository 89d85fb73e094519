"""What glibc keeps of freed memory, in a server whose threads come and go.

Every thread that computes takes its blocks from a heap of its own. What it frees there stays with
the process until all above it is free too, and small objects that live on lie between tensors.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["map_large_blocks", "release_memory"]

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of glibc's `mallopt`."""
LARGE_BYTES = 6 << 20
"""The vectors of a layer at 8,192 tokens. Above its memory at rest the server then takes 187 MB at
most for an analysis of so many, where glibc alone took 299, and 131 in place of 235 for the losses;
after a round of everything 141 MB lie free in the heaps, not 398. With 1 MiB it is 143 and 89 MB,
but because of a third more page faults texts of 2,048 tokens take a fifth longer; with 6 MiB they
take no longer."""
TOP_BYTES = 8 << 20
"""Free at the top of a heap before it is handed back: with glibc's own 128 KiB, which stands once
the threshold is set, regions of a map take half as long again."""


def map_large_blocks() -> None:
    """Has large blocks mapped each on its own, so that the system has them back when they are
    freed; called before there are threads.

    Left to itself glibc stops doing so: with the first large block that is freed its threshold
    rises to that size, up to 32 MB.
    """
    set_option = _glibc("mallopt")
    if set_option is not None:
        set_option(MMAP_THRESHOLD, LARGE_BYTES)
        set_option(TRIM_THRESHOLD, TOP_BYTES)


def release_memory() -> None:
    """Hands what was freed back to the system.

    glibc keeps it, for every thread on its own: about 800 MB after some minutes of use.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Any:
    """A function of glibc's own; None where there is another library."""
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        return None
    return getattr(library, name)
