"""Results of tests/measure/app_*.py as the scripts write them, with made-up numbers."""

from __future__ import annotations

from typing import Any


def facts() -> dict[str, Any]:
    return {
        "processor": "a processor",
        "cores": 2,
        "memory_gb": 25.3,
        "load_before": 0.04,
        "device": "cpu",
        "seconds": 61.0,
        "versions": {"torch": "2.13.0", "python": "3.12.3", "gradio": "6.31", "chromium": "150.0"},
        "command": "python tests/measure/app_start.py",
        "date": "2026-01-02",
        "commit": "0123456789abcdef",
    }


def timed(what: str, unit: str, p95: float, of: str, most: float) -> dict[str, Any]:
    values = {"median": p95 / 2, "p95": p95, "largest": 2 * p95}
    return {"what": what, "unit": unit, "count": 200, **values, "goal": {"of": of, "most": most}}


def start_result() -> dict[str, Any]:
    chart = timed("first chart drawn in the browser", "s", 2.0, "p95", 1.0) | {"goal": None}
    return facts() | {"rows": [timed("first answer", "s", 1.25, "largest", 3), chart]}


def redraw_result() -> dict[str, Any]:
    rows = [timed("redraw", "ms", 35.4, "p95", 60), timed("region", "ms", 250, "p95", 200)]
    return facts() | {"rows": rows}


def export_result() -> dict[str, Any]:
    whole = timed("the whole site", "s", 120.0, "largest", 120)
    return facts() | {"rows": [whole | {"count": 3, "p95": 90.0, "largest": 90.0}]}


def soak_result() -> dict[str, Any]:
    samples = [
        {"seconds": 2.0 * at, "rss_mb": 500 + at, "kept_mb": at, "entries": at // 10}
        for at in range(901)
    ]
    return facts() | {
        "rows": [timed("a step", "s", 3.0, "p95", 9)],
        "facts": [
            {"what": "clients", "value": 8, "most": None},
            {"what": "steps that failed", "value": 0, "most": 0},
            {"what": "lines in the server's log", "value": 2, "most": 0},
        ],
        "samples": samples,
    }
