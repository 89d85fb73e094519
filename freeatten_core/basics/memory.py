"""Memory that is free, on a GPU and within a cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["available_bytes"]


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device, within the process' cgroup; None when not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    free = [_meminfo(), _cgroup("memory.max", "memory.current")]
    known = [number for number in free if number is not None]
    return min(known) if known else _physical()


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _cgroup(limit: str, used: str) -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        most = (root / limit).read_text(encoding="utf-8").strip()
        if most == "max":
            return None
        return max(0, int(most) - int((root / used).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
