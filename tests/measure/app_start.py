"""Seconds to the page: from the command to its first answer and its first chart in Chromium, and
from the address to the chart on a server that is there.

    python tests/measure/app_start.py [--repeat 7] [--json assets/results/app/start.json]

From the command, every repetition is a new process of `freeatten-viz serve --no-browser`; the
browser is there already, and asks from the first answer on. From the address, every repetition is
a browser context of its own, without a cache, to a server that has shown the page once.
"""

from __future__ import annotations

import time
from typing import Any

from served import WIDE, Server, browser, row, run_repeated

CHART = "document.getElementById('chart')?.firstElementChild"
"""A chart: the page draws one itself, and again when the chart library has started."""
ANSWER_GOAL, CHART_GOAL = 3.0, 1.5


def measured(repeat: int) -> dict[str, Any]:
    from pages import wait

    answers, charts = [], []
    with browser() as chromium:
        for _ in range(repeat):
            page = chromium.new_page(viewport=WIDE)
            with Server() as server:
                answers.append(server.first_answer())
                page.goto(server.address)
                wait(page, CHART, limit=60)
                charts.append(server.seconds())
            page.close()
        pages = from_the_address(chromium, repeat)
    return {
        "rows": [
            row("first answer of the page", "s", answers, ("largest", ANSWER_GOAL)),
            row("first chart drawn in the browser", "s", charts),
            row("from the address to the first chart", "s", pages, ("largest", CHART_GOAL)),
        ]
    }


def from_the_address(chromium: Any, repeat: int) -> list[float]:
    """Seconds from the browser's first request to the chart."""
    from pages import wait

    times = []
    with Server() as server:
        server.first_answer()
        for _ in range(1 + repeat):
            context = chromium.new_context(viewport=WIDE)
            page = context.new_page()
            begun = time.perf_counter()
            page.goto(server.address, wait_until="commit")
            wait(page, CHART, limit=60)
            times.append(time.perf_counter() - begun)
            context.close()
    return times[1:]


if __name__ == "__main__":
    run_repeated(__doc__, "app/start", measured, 7)
