"""Random use by several clients at once: does memory grow, does anything complain?

    python tests/measure/app_soak.py [--minutes 30] [--json assets/results/app/soak.json]

Every client is a page of its own in Chromium, in a context of its own, and does one thing after
another with short pauses: tabs, maps, zoom, comparisons stored and new, curves, sliders, other
models and texts, its own texts, cancelled analyses, downloads, links opened anew. What it does
follows from a seed. The server is watched_server.py; the first third of the time is its warm-up.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from served import HERE, UNPROTECTED, Server, chromium, options, row, run, tell
from watched_server import CACHE_BYTES

LIMIT = 300_000
"""Milliseconds that a step may take: eight clients queue for two cores, and a queue is no error."""
SEED = 20
TABS = ("compare", "map", "entropy", "stages", "retrieval", "use", "about")
LENGTHS = ("512", "1024", "2048", "4096", "8192")
WORDS = "one red dog the def return if = ( ) <b> & مرحبا 👩‍💻"
PAUSE = (0.1, 1.5)
GROWTH_GOAL = 50
"""MB outside the cache, from just after the warm-up to the end."""
IDLE = """(() => {
    const at = (id) => document.getElementById(id);
    const tab = location.hash.slice(1).split("&")[0] || "compare";
    const filled = {
        compare: () => at("chart").dataset.drawn,
        map: () => window.freeatten?.page?.panels.length
            && freeatten.page.root.dataset.settled === "true",
        entropy: () => at("curves").data,
        stages: () => at("stage-charts").dataset.drawn,
        retrieval: () => at("retrieval-shown").children.length,
        use: () => at("use-shown").children.length,
        about: () => at("cards").children.length,
    };
    const isIdle = at(tab) && !at(tab).hidden && at(tab).ariaBusy !== "true"
        && !at("look").disabled && filled[tab]();
    window.idleSince = isIdle ? window.idleSince ?? performance.now() : null;
    return isIdle && performance.now() - window.idleSince > 300;
})()"""
"""For a while the tab that the address names has shown something, and nothing was asked for."""
SLIDE = """(one, share) => {
    if (!one.checkVisibility()) return;
    one.value = Math.max(1, Math.round(share * one.max));
    for (const kind of ["input", "change"]) one.dispatchEvent(new Event(kind, { bubbles: true }));
}"""
"""Moves a slider that is there: which ones are follows from the model that is shown."""
STATE = """[location.hash, document.getElementById("status")?.textContent,
    document.getElementById("look")?.disabled, window.freeatten?.page?.root.dataset.settled]
    .join(" | ")"""
TOLD = """[...document.querySelectorAll("#fault p, #status.site-error, .fa-failed")]
    .map((one) => one.textContent)"""

exchanged: list[str] = []
"""What pages said whose map was replaced while it was pointed at."""

Step = Callable[[Any, random.Random], Awaitable[None]]


async def idle(page: Any) -> None:
    """Until nothing is asked for any more."""
    await page.evaluate("window.idleSince = null")
    await page.wait_for_function(IDLE, polling=50, timeout=LIMIT)


async def turn(page: Any, tab: str) -> None:
    await page.locator(f"#{tab}-tab").click()
    await idle(page)


async def choose(page: Any, rng: random.Random, selector: str) -> None:
    """One of the options of a visible choice."""
    control = page.locator(selector)
    values = await control.evaluate("(one) => [...one.options].map(({ value }) => value)")
    await control.select_option(rng.choice(values))
    await idle(page)


async def any_tab(page: Any, rng: random.Random) -> None:
    await turn(page, rng.choice(TABS))


async def zoom(page: Any, rng: random.Random) -> None:
    await turn(page, "map")
    box = await over_a_map(page, rng)
    for _ in range(rng.randint(1, 6)):
        await page.mouse.move(*somewhere(rng, box))
        await page.mouse.wheel(0, rng.choice((-700, -300, 500)))
    await idle(page)


async def drag(page: Any, rng: random.Random) -> None:
    await turn(page, "map")
    box = await over_a_map(page, rng)
    await page.mouse.move(*somewhere(rng, box))
    await page.mouse.down()
    for _ in range(5):
        await page.mouse.move(*somewhere(rng, box))
    await page.mouse.up()
    await idle(page)


async def over_a_map(page: Any, rng: random.Random) -> dict[str, float]:
    """Where a map is. One that is exchanged for another just then is told of and pointed at again,
    as a reader would."""
    from playwright.async_api import Error

    canvases = page.locator(".fa-canvas")
    await canvases.first.wait_for()
    canvas = canvases.nth(rng.randrange(await canvases.count()))
    try:
        await canvas.scroll_into_view_if_needed()
    except Error as error:
        if "not attached" not in str(error):
            raise
        exchanged.append(await state_of(page))
        tell(f"a map was exchanged: {exchanged[-1]}")
        await idle(page)
        await canvas.scroll_into_view_if_needed()
    box = await canvas.bounding_box()
    assert box is not None, "a map vanished while it was pointed at"
    return box


def somewhere(rng: random.Random, box: dict[str, float]) -> tuple[float, float]:
    x, y = rng.uniform(0.2, 0.95), rng.uniform(0.05, 0.8)
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


async def head(page: Any, rng: random.Random) -> None:
    await turn(page, "map")
    await choose(page, rng, "#sort")
    heads = page.locator(".site-head")
    await heads.nth(rng.randrange(await heads.count())).click()
    await idle(page)


async def difference(page: Any, rng: random.Random) -> None:
    await turn(page, "map")
    shown = ".fa-toolbar .fa-choice:last-of-type .fa-select"
    if await page.locator(shown).is_visible():  # not with one model
        await choose(page, rng, shown)


async def comparison(page: Any, rng: random.Random) -> None:
    await turn(page, "compare")
    stored = page.locator("#result option:not([value=own])")
    values = await stored.evaluate_all("(all) => all.map(({ value }) => value)")
    await page.locator("#result").select_option(rng.choice(values))
    await page.locator("#compare-png").wait_for()
    if await page.locator("#all").is_visible():
        await page.locator("#all").click()
    elif await page.locator("#picks").is_visible():  # many rows, each with a tick behind a summary
        rows = page.locator("#picks input")
        await rows.nth(rng.randrange(await rows.count())).evaluate("(one) => one.click()")
    await idle(page)


async def story(page: Any, rng: random.Random) -> None:
    await turn(page, "compare")
    if await page.locator("#story").is_visible():  # not beside a text of one's own
        await page.locator("#story-step").fill(str(rng.randint(0, 4)))
    await idle(page)


async def scored(page: Any, rng: random.Random) -> None:
    """A comparison on an own text, and back to the stored ones."""
    await turn(page, "compare")
    await page.locator("#result").select_option("own")
    await page.locator("#setup").wait_for()
    await tick(page, rng)
    await page.locator("#text").select_option("own")
    await page.locator("#content").fill(words(rng, 1500))
    await page.locator("#longest").select_option(rng.choice(LENGTHS[:3]))
    await page.locator("#look").click()
    await idle(page)
    await comparison(page, rng)


async def curves(page: Any, rng: random.Random) -> None:
    await turn(page, "entropy")
    await choose(page, rng, "#statistic")
    await choose(page, rng, "#curve-head")


async def stages(page: Any, rng: random.Random) -> None:
    await turn(page, "stages")
    await choose(page, rng, "#stage-head")
    for slider in rng.choices(("position", "last", "power"), k=4):
        await page.locator(f"#{slider}").evaluate(SLIDE, rng.random())
    await idle(page)


async def other_text(page: Any, rng: random.Random) -> None:
    await fill(page, rng, rng.choice(("stdlib", "prose")))
    await page.locator("#look").click()
    await idle(page)


async def own_text(page: Any, rng: random.Random) -> None:
    await fill(page, rng, "own")
    await page.locator("#content").fill(words(rng, 20))
    await page.locator("#look").click()
    await idle(page)


def words(rng: random.Random, least: int) -> str:
    return " ".join(rng.choices(WORDS.split(), k=rng.randint(least, 3000)))


async def fill(page: Any, rng: random.Random, text: str) -> None:
    """Chooses models, a text and a length, without looking yet."""
    await turn(page, rng.choice(("map", "entropy", "stages")))
    await tick(page, rng)
    await page.locator("#text").select_option(text)
    await page.locator("#length").select_option(rng.choice(LENGTHS))
    await page.locator("#seed").fill(str(rng.randint(0, 9)))


async def tick(page: Any, rng: random.Random) -> None:
    """One model or two."""
    await page.locator("#fold").evaluate("(one) => { one.open = true; }")
    boxes = page.locator("[name=model]")
    await boxes.first.wait_for()
    shown = set(rng.sample(range(await boxes.count()), rng.randint(1, 2)))
    for at in range(await boxes.count()):
        await boxes.nth(at).set_checked(at in shown)


async def cancelled(page: Any, rng: random.Random) -> None:
    """An analysis that is called off, if it is not done before."""
    await fill(page, rng, "stdlib")
    await page.locator("#length").select_option(LENGTHS[-1])
    await page.locator("#look").click()
    await page.wait_for_timeout(rng.uniform(0, 1500))
    if await page.locator("#cancel").is_visible():
        await page.locator("#cancel").evaluate("(one) => one.click()")
    await idle(page)


async def theme(page: Any, _: random.Random) -> None:
    await page.locator("#theme").click()
    await idle(page)


async def link(page: Any, _: random.Random) -> None:
    """The view's link opened anew."""
    await page.reload()
    await idle(page)


async def download(page: Any, rng: random.Random) -> None:
    tab, button = rng.choice((("map", "save-page"), ("map", "save-csv"), ("entropy", "curves-csv")))
    await turn(page, tab)
    async with page.expect_download() as told:
        await page.locator(f"#{button}").click()
    await (await told.value).delete()


STEPS: dict[Step, int] = {
    any_tab: 3,
    zoom: 6,
    drag: 4,
    head: 3,
    difference: 1,
    comparison: 2,
    story: 1,
    scored: 1,
    curves: 2,
    stages: 3,
    other_text: 3,
    own_text: 2,
    cancelled: 2,
    theme: 1,
    link: 1,
    download: 1,
}
"""What a client does, and how often."""


class Use:
    """What all clients have done, and what complained."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.times: list[float] = []
        self.failed: list[str] = []
        self.told: list[str] = []
        self.console: list[str] = []
        self.requests: list[str] = []

    def listen(self, page: Any) -> None:
        page.on("console", lambda message: self._said(message.text))
        page.on("pageerror", lambda error: self._said(str(error)))
        page.on("response", self._answered)

    def _said(self, text: str) -> None:
        self.console.append(text)
        tell(text)

    def _answered(self, answer: Any) -> None:
        if answer.status >= 400:
            self.requests.append(f"{answer.status} {answer.url}")
            tell(self.requests[-1])

    async def client(self, browser: Any, address: str, number: int, end: float) -> None:
        """One page, until the time is over."""
        from playwright.async_api import Error

        rng = random.Random(SEED + number)
        context = await browser.new_context(viewport={"width": 1000, "height": 700})
        context.set_default_timeout(LIMIT)
        page = await context.new_page()
        self.listen(page)
        await page.goto(address)
        await idle(page)
        while time.monotonic() < end:
            (step,) = rng.choices(list(STEPS), list(STEPS.values()))
            begun = time.monotonic()
            try:
                await step(page, rng)
            except (Error, AssertionError) as error:
                self.failed.append(f"{step.__name__}: {error} {await state_of(page)}")
                tell(self.failed[-1])
                await page.goto("about:blank")
                await page.goto(address)
                await idle(page)
            self.steps[step.__name__] += 1
            self.times.append(time.monotonic() - begun)
            told = await page.evaluate(TOLD)
            self.told += told
            for text in told:
                tell(f"after {step.__name__}: {text}")
            await asyncio.sleep(rng.uniform(*PAUSE))
        await context.close()


async def state_of(page: Any) -> str:
    """What a page shows, or why it cannot be asked."""
    from playwright.async_api import Error

    try:
        return str(await page.evaluate(STATE))
    except Error as error:
        return str(error)


async def used(server: Server, clients: int, minutes: float) -> Use:
    from chromium import ARGUMENTS
    from playwright.async_api import async_playwright

    use = Use()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=ARGUMENTS, ignore_default_args=UNPROTECTED
        )
        end = time.monotonic() + 60 * minutes
        going = [use.client(browser, server.address, number, end) for number in range(clients)]
        await asyncio.gather(*going, report(server, use, end))
        await browser.close()
    return use


async def report(server: Server, use: Use, end: float) -> None:
    """A line a minute on standard error."""
    while time.monotonic() < end:
        await asyncio.sleep(min(60.0, max(end - time.monotonic(), 0.0)))
        complaints = len(use.failed) + len(use.told) + len(use.console) + len(use.requests)
        said = f"{use.steps.total()} steps, {complaints} complaints, {server.lines()[-1]}"
        tell(said)


def growth(samples: Sequence[dict[str, Any]]) -> int:
    """MB outside the cache: the last tenth of the time against the tenth after the warm-up."""
    third, tenth = len(samples) // 3, max(len(samples) // 10, 1)
    outside = [sample["rss_mb"] - sample["kept_mb"] for sample in samples]
    after, last = outside[third : third + tenth], outside[-tenth:]
    return round(statistics.mean(last) - statistics.mean(after))


def measured(clients: int, minutes: float) -> dict[str, Any]:
    command = (sys.executable, str(HERE / "watched_server.py"))
    with Server(command) as server:
        server.first_answer()
        use = asyncio.run(used(server, clients, minutes))
        samples = [json.loads(line) for line in server.lines()]
        log = [line for line in server.log().splitlines() if line.strip()]
    complaints = {
        "steps that failed": use.failed,
        "errors told on a page": use.told,
        "messages in the browsers' consoles": use.console,
        "requests that were refused": use.requests,
        "lines in the server's log": log,
    }
    for name, texts in complaints.items():
        for text in texts[:5]:
            tell(f"{name}: {text}")

    def fact(what: str, value: float, most: float | None = None) -> dict[str, Any]:
        return {"what": what, "value": round(value), "most": most}

    return {
        "clients": clients,
        "minutes": minutes,
        "rows": [row("a step, its pauses not counted", "s", use.times)],
        "facts": [
            fact("clients", clients),
            fact("steps", use.steps.total()),
            *(fact(name, len(texts), 0) for name, texts in complaints.items()),
            fact("maps exchanged while they were pointed at", len(exchanged)),
            fact(
                "most that the cache held, MB",
                max(s["kept_mb"] for s in samples),
                CACHE_BYTES / 1e6,
            ),
            fact("growth of the memory outside the cache, MB", growth(samples), GROWTH_GOAL),
        ],
        "steps": dict(use.steps),
        "complaints": {name: texts[:20] for name, texts in complaints.items()},
        "samples": samples,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    run("app/soak", lambda: measured(given.clients, given.minutes), given.json)


if __name__ == "__main__":
    main()
