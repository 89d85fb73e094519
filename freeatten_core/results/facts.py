"""What every result says of the run that made it: versions, commit, machine."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from freeatten_core.basics.devices import device_name
from freeatten_core.basics.files import printable
from freeatten_core.basics.version import installed_version

__all__ = ["ResultDict", "commit", "json_ready", "run_facts", "versions"]

ResultDict = dict[str, Any]


def run_facts(device: torch.device, command: str, seconds: float) -> ResultDict:
    """Where, when, with which versions and by which command a result was made."""
    return {
        "device": device_name(device),
        "seconds": round(seconds, 1),
        "versions": versions(),
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "freeatten": installed_version() or "checkout",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of a checkout, or FREEATTEN_COMMIT where git is not at hand."""
    given = os.environ.get("FREEATTEN_COMMIT")
    if given:
        return given
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def json_ready(value: Any) -> Any:
    """The same as JSON needs it: numbers of 6 decimals, null where not finite, UTF-8 strings."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
