"""Seconds of `freeatten-viz export`: by the clock, and of the processor.

    python tests/measure/app_export.py [--repeat 3] [--json assets/results/app/export.json]

Every repetition is a new process, imports included, that writes the whole site: the stored results
and the maps of 8,192 tokens of the standard library.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from served import PROGRAM, row, run_repeated, tell

GOAL = 120.0
LIMIT = 1800
"""Seconds that no export takes."""


def measured(repeat: int) -> dict[str, Any]:
    clock, processor = [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            before, begun = _processor(), time.perf_counter()
            command = [str(PROGRAM), "export", "--out", str(Path(folder) / "site")]
            subprocess.run(command, check=True, timeout=LIMIT, stderr=subprocess.DEVNULL)
            clock.append(time.perf_counter() - begun)
            processor.append(_processor() - before)
        tell(f"export: {clock[-1]:.0f} s, {processor[-1]:.0f} s of the processor")
    return {
        "rows": [
            row("the whole site", "s", clock, ("largest", GOAL)),
            row("the whole site, seconds of the processor", "s", processor),
        ]
    }


def _processor() -> float:
    """Seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run_repeated(__doc__, "app/export", measured, 3)
