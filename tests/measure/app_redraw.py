"""Milliseconds from a view change to the redrawn map, alone and with 16 clients; first analyses.

    python tests/measure/app_redraw.py [--changes 200] [--json assets/results/app/redraw.json]

- Redraw: one page in Chromium jumps to random views, of 4 tokens to the whole map, none of them
  seen before, once the small pictures of all heads are there. A change ends when every map is
  drawn from the new region's own cells and the browser has finished the frame. One map, and two
  side by side.
- 16 clients: HTTP clients, not browsers, which would measure two cores full of Chromium. Each has
  a connection and a map of its own model, and asks for the region of the next random view as soon
  as it has the last, without a pause. A request ends with the last byte of its answer.
- First analysis: a new server, a link to the tab Map with 8,192 tokens and one model, from the
  browser's first request (the page, imports and the checkpoint included) to the drawn map.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from served import (
    DRAWN,
    PICTURED,
    READY,
    WIDE,
    Server,
    browser,
    looking,
    options,
    row,
    run,
    tell,
    view,
)

LENGTHS = (8192, 32_768)
PAIR = ("softmax", "lssar-p15")
CELLS = 512
CLIENTS = 16
REDRAW_GOAL, CLIENTS_GOAL, ANALYSIS_GOAL = 60.0, 200.0, 15.0
ANALYSES = 3
ANALYSIS_LIMIT = 600
"""Seconds that no analysis takes."""
SEED = 20
REDRAW = """async (views) => {
    const map = freeatten.page;
    const times = [];
    for (const view of views) {
        const begun = performance.now();
        map.look(view);
        await map.settled();
        await new Promise((done) => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = done; // after the frame in which the maps were drawn
            port2.postMessage(0);
        });
        times.push(performance.now() - begun);
    }
    return times;
}"""
WATCH_PROGRESS = """() => {
    const seen = new Set();
    setInterval(() => {
        const bar = document.getElementById("progress");
        if (bar && !bar.hidden) seen.add(bar.value);
    }, 20);
    window.progressSteps = seen;
}"""


def redraws(chromium: Any, server: Server, length: int, changes: int) -> list[dict[str, Any]]:
    """One map, and two side by side."""
    from pages import wait

    found = []
    for models in (PAIR[:1], PAIR):
        page = chromium.new_page(viewport=WIDE)
        page.goto(f"{server.address}#map&{looking(models, length)}")
        wait(page, PICTURED, limit=READY)
        rng = random.Random(SEED)
        times = page.evaluate(REDRAW, [view(rng, length) for _ in range(changes)])
        page.close()
        maps = "one map" if len(models) == 1 else "two maps side by side"
        what = f"redraw, {length:,} tokens, {maps}"
        found.append(row(what, "ms", times, ("p95", REDRAW_GOAL)))
        tell(f"{what}: p95 {found[-1]['p95']:.0f} ms")
    return found


def first_analyses(chromium: Any) -> dict[str, Any]:
    """Of new servers."""
    from pages import wait

    times, steps = [], []
    for _ in range(ANALYSES):
        with Server() as server:
            server.first_answer()
            page = chromium.new_page(viewport=WIDE)
            page.add_init_script(f"({WATCH_PROGRESS})()")
            begun = time.perf_counter()
            page.goto(f"{server.address}#map&{looking(PAIR[-1:], LENGTHS[0])}")
            wait(page, DRAWN, limit=READY)
            times.append(time.perf_counter() - begun)
            tell(f"first analysis: {times[-1]:.1f} s")
            steps.append(page.evaluate("window.progressSteps.size"))
            page.close()
    found = row(f"first analysis, {LENGTHS[0]:,} tokens", "s", times, ("largest", ANALYSIS_GOAL))
    return found | {"progress_steps": steps}


class Client:
    """Calls the functions of the page over HTTP, as a browser does."""

    def __init__(self, address: str) -> None:
        import httpx

        self._http = httpx.AsyncClient(base_url=address, timeout=READY)
        self._component = 0

    async def open(self) -> None:
        """Finds out what the page calls."""
        parts = (await self._http.get("config")).json()["components"]
        self._component = next(part["id"] for part in parts if part["type"] == "html")

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, name: str, **given: Any) -> tuple[dict[str, Any], float]:
        """The answer, and the seconds until its last byte."""
        body = {
            "data": given,
            "component_id": self._component,
            "fn_name": f"ask_{name}",
            "session_hash": str(id(self)),
        }
        begun = time.perf_counter()
        answer = await self._http.post("gradio_api/component_server", json=body)
        taken = time.perf_counter() - begun
        told = answer.raise_for_status().json()
        if told.get("error") or "gone" in told:
            raise SystemExit(f"{name} was answered {told}")
        return told, taken

    async def analysed(self, model: str, length: int) -> str:
        """The id of an analysis."""
        text = {"kind": "stdlib", "name": "", "content": ""}
        job, _ = await self.call("start", checkpoint=model, text=text, length=length, seed=0)
        until = time.monotonic() + ANALYSIS_LIMIT
        while time.monotonic() < until:
            told, _ = await self.call("progress", **job)
            if told["state"] == "done":
                return str(told["id"])
            await asyncio.sleep(0.1)
        raise SystemExit(f"no analysis of {model} at {length} tokens in {ANALYSIS_LIMIT} s")


async def at_once(address: str, length: int, changes: int) -> dict[str, Any]:
    """All clients ask for regions at the same time."""
    clients = [Client(address) for _ in range(CLIENTS)]
    for client in clients:
        await client.open()
    ids = [await clients[0].analysed(model, length) for model in PAIR]
    for id in ids:
        await clients[0].call("open_map", id=id, layer=0, head=0)

    async def asking(number: int) -> Sequence[float]:
        rng = random.Random(SEED + number)
        id, times = ids[number % len(ids)], []
        for _ in range(changes):
            seen = view(rng, length)
            q0, k0, span = (int(seen[name]) for name in ("query", "key", "span"))
            place = {"q0": q0, "q1": q0 + span, "k0": k0, "k1": k0 + span}
            _, taken = await clients[number].call(
                "region", id=id, layer=0, head=0, cells=CELLS, **place
            )
            times.append(1000 * taken)
        return times

    found = await asyncio.gather(*map(asking, range(CLIENTS)))
    await asyncio.gather(*(client.close() for client in clients))
    times = [taken for each in found for taken in each]
    what = f"region, {length:,} tokens, {CLIENTS} HTTP clients at once"
    made = row(what, "ms", times, ("p95", CLIENTS_GOAL))
    tell(f"{what}: p95 {made['p95']:.0f} ms")
    return made


def measured(changes: int) -> dict[str, Any]:
    rows = []
    with browser() as chromium:
        analysis = first_analyses(chromium)
        with Server() as server:
            server.first_answer()
            for length in LENGTHS:
                rows += redraws(chromium, server, length, changes)
    with Server() as server:
        server.first_answer()
        for length in LENGTHS:
            rows.append(asyncio.run(at_once(server.address, length, changes)))
    return {"rows": [*rows, analysis]}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--changes", type=int, default=200, help="of each client and page")
    given = parser.parse_args()
    run("app/redraw", lambda: measured(given.changes), given.json)


if __name__ == "__main__":
    main()
