"""Milliseconds from what a reader does to what is shown: views, heads, the text, results.

    python tests/measure/app_redraw.py [--changes 200] [--parts analysis results redraw heads
        tints clients] [--json assets/results/app/redraw.json]

- Redraw: one page in Chromium jumps to random views, of 4 tokens to the whole map, none of them
  seen before, once the small pictures of all heads are there. A change ends when every map is
  drawn from the new region's own cells and the browser has finished the frame. One map, and two
  side by side.
- Another head: each head's button once, until its maps are drawn, and until they are drawn from
  all of their weights: those of a long text begin with a preview.
- A pinned row: until the running text, which is open, is tinted by it; no row was asked for before.
- Another result: each stored result once, in a page that has not had it, until its chart is drawn.
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
PARTS = ("analysis", "results", "redraw", "heads", "tints", "clients")
PAIR = ("softmax", "lssar-p15")
CELLS = 512
CLIENTS = 16
REDRAW_GOAL, CLIENTS_GOAL, ANALYSIS_GOAL = 60.0, 200.0, 15.0
HEAD_GOAL, TINT_GOAL, RESULT_GOAL = 1.5, 100.0, 300.0
PINNED = 100
"""Rows that are pinned."""
ANALYSES = 3
ANALYSIS_LIMIT = 600
"""Seconds that no analysis takes."""
SEED = 20
FRAME = """new Promise((done) => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = done; // after the frame in which it was drawn
            port2.postMessage(0);
        })"""
LIMIT = 120_000
"""Milliseconds that nothing takes of what is timed inside a page."""
UNTIL = f"""async (isDone) => {{
        const end = performance.now() + {LIMIT};
        while (!isDone()) {{
            if (performance.now() > end) throw new Error(`not within {LIMIT} ms: ${{isDone}}`);
            await new Promise(requestAnimationFrame);
        }}
        await {FRAME};
    }}"""
REDRAW = f"""async (views) => {{
    const map = freeatten.page;
    const times = [];
    for (const view of views) {{
        const begun = performance.now();
        map.look(view);
        await map.settled();
        await {FRAME};
        times.push(performance.now() - begun);
    }}
    return times;
}}"""
HEADS = f"""async () => {{
    const until = {UNTIL};
    const others = document.querySelectorAll(".site-head:not([aria-pressed=true])");
    const [times, whole] = [[], []];
    for (const button of others) {{
        const name = button.dataset.head;
        const begun = performance.now();
        button.click();
        await until(() => freeatten.page.head === name
            && freeatten.page.root.dataset.settled === "true"
            && freeatten.page.panels.every(({{ tile, overview }}) => tile ?? overview)
            && !document.getElementById("status").textContent);
        times.push((performance.now() - begun) / 1000);
        await until(() => !document.querySelector(".fa-rough:not([hidden])")
            && freeatten.page.root.dataset.settled === "true");
        whole.push((performance.now() - begun) / 1000);
    }}
    return {{ times, whole }};
}}"""
TINTS = f"""async (queries) => {{
    const until = {UNTIL};
    const legend = document.querySelector(".fa-text-legend");
    const times = [];
    for (const query of queries) {{
        const begun = performance.now();
        freeatten.page.pinned(query);
        await until(() => legend.textContent.includes(`at ${{query.toLocaleString("en")}},`));
        times.push(performance.now() - begun);
    }}
    return times;
}}"""
RESULTS = f"""async () => {{
    const until = {UNTIL};
    const choice = document.getElementById("result");
    const chart = document.getElementById("chart");
    const names = [...choice.options].map(({{ value }}) => value);
    const times = [];
    for (const name of names.filter((one) => one !== "own" && one !== choice.value)) {{
        let isDrawn = false;
        chart.once("plotly_afterplot", () => {{ isDrawn = true; }});
        const begun = performance.now();
        choice.value = name;
        choice.dispatchEvent(new Event("change"));
        await until(() => isDrawn && document.querySelector("#lines li"));
        times.push(performance.now() - begun);
    }}
    return times;
}}"""
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


def heads(chromium: Any, server: Server, length: int) -> list[dict[str, Any]]:
    """One map, and two side by side; every head is opened for the first time."""
    from pages import wait

    found = []
    for models in (PAIR[:1], PAIR[1:], PAIR):
        page = chromium.new_page(viewport=WIDE)
        page.goto(f"{server.address}#map&{looking(models, length, seed=len(found))}")
        wait(page, PICTURED, limit=READY)
        timed = page.evaluate(HEADS)
        page.close()
        maps = " and ".join(models)
        what = f"another head, {length:,} tokens, {maps}"
        found.append(row(what, "s", timed["times"], ("largest", HEAD_GOAL)))
        found.append(row(f"{what}, from all weights", "s", timed["whole"]))
        tell(f"{what}: largest {found[-2]['largest']:.2f} s, {found[-1]['largest']:.2f} s")
    return found


def tints(chromium: Any, server: Server, length: int) -> dict[str, Any]:
    """Of the text that two models read."""
    from pages import wait

    page = chromium.new_page(viewport=WIDE)
    page.goto(f"{server.address}#map&{looking(PAIR, length)}")
    wait(page, PICTURED, limit=READY)
    page.get_by_role("button", name="the text and the strongest sources").click()
    wait(page, "document.querySelector('.fa-text-legend').textContent", limit=READY)
    queries = random.Random(SEED).sample(range(length // 2, length), PINNED)
    times = page.evaluate(TINTS, queries)
    page.close()
    what = f"a pinned row to the tinted text, {length:,} tokens, two maps"
    found = row(what, "ms", times, ("p95", TINT_GOAL))
    tell(f"{what}: p95 {found['p95']:.0f} ms")
    return found


def results(chromium: Any, server: Server) -> dict[str, Any]:
    """Of the tab Compare, on a server that has made none of them."""
    from pages import wait

    page = chromium.new_page(viewport=WIDE)
    page.goto(server.address)
    wait(page, "document.getElementById('chart')?.dataset.drawn", limit=READY)
    times = page.evaluate(RESULTS)
    page.close()
    found = row("another result in Compare", "ms", times, ("largest", RESULT_GOAL))
    tell(f"another result: largest {found['largest']:.0f} ms")
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


def measured(changes: int, parts: Sequence[str]) -> dict[str, Any]:
    rows, analysis = [], []
    with browser() as chromium:
        if "analysis" in parts:
            analysis = [first_analyses(chromium)]
        with Server() as server:
            server.first_answer()
            switched = [results(chromium, server)] if "results" in parts else []
            for length in LENGTHS if "redraw" in parts else ():
                rows += redraws(chromium, server, length, changes)
            if "heads" in parts:
                rows += heads(chromium, server, LENGTHS[-1])
            if "tints" in parts:
                rows.append(tints(chromium, server, LENGTHS[0]))
    if "clients" in parts:
        with Server() as server:
            server.first_answer()
            for length in LENGTHS:
                rows.append(asyncio.run(at_once(server.address, length, changes)))
    return {"rows": [*rows, *switched, *analysis]}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--changes", type=int, default=200, help="of each client and page")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    given = parser.parse_args()
    whole = list(given.parts) == list(PARTS)
    name = "app/redraw" if whole else f"app/{'-'.join(given.parts)}"
    run(name, lambda: measured(given.changes, given.parts), given.json)


if __name__ == "__main__":
    main()
