"""The server of app_soak.py: the app as `freeatten-viz serve` starts it, and what it holds.

    python tests/measure/watched_server.py --port 7860

Prints a line of JSON about its memory every two seconds. Its cache is smaller than the app's own,
so that it is full after the warm-up and what grows afterwards is a leak.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from threading import Event

CACHE_BYTES = 800_000_000
"""Of 400 MB eight visitors with two models at 8,192 tokens each put out one another's analyses."""
EVERY = 2.0


def resident() -> float:
    """MB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    from freeatten_app.serve import launch, warm
    from freeatten_app.server.analyses import Analyses
    from freeatten_app.server.environment import settle
    from freeatten_app.server.models import Models
    from freeatten_app.server.texts import Texts

    settle()
    analyses = Analyses(Models((), local=True), Texts(None), "cpu", size=CACHE_BYTES)
    app = launch(analyses, "127.0.0.1", given.port, None)
    begun = time.monotonic()
    warm(Event())
    try:
        while True:
            kept = analyses.kept
            sample = {
                "seconds": round(time.monotonic() - begun, 1),
                "rss_mb": round(resident()),
                "kept_mb": round(kept.bytes / 1e6),
                "entries": len(kept),
            }
            print(json.dumps(sample), flush=True)
            time.sleep(EVERY)  # between two samples; the server works in threads of its own
    except KeyboardInterrupt:
        pass
    finally:
        app.close(verbose=False)
        analyses.close()


if __name__ == "__main__":
    main()
