"""Seconds from the command to the page: its first answer, and its first chart in Chromium.

    python tests/measure/app_start.py [--repeat 7] [--json assets/results/app/start.json]

Every repetition is a new process of `freeatten-viz serve --no-browser`. The browser is there
already, and asks from the first answer on.
"""

from __future__ import annotations

from typing import Any

from served import WIDE, Server, browser, options, row, run

CHART = "document.getElementById('chart')?.dataset.drawn"
ANSWER_GOAL = 3.0


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
    return {
        "rows": [
            row("first answer of the page", "s", answers, ("largest", ANSWER_GOAL)),
            row("first chart drawn in the browser", "s", charts),
        ]
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    given = parser.parse_args()
    run("app/start", lambda: measured(given.repeat), given.json)


if __name__ == "__main__":
    main()
