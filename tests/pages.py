"""What the tests ask of a page: nothing here waits for ever, or for an animation frame."""

LIMIT = 10
"""Seconds after which no answer is a failure."""
READY = 40
"""Seconds for a first analysis on a busy machine."""
LENGTH = 512
"""Tokens that the app is asked for."""
MAPS = "document.getElementById('map-command').textContent.includes('freeatten map')"
"""Whether the app shows maps."""

ASK = """(given) => {
    const asked = (EXPRESSION);
    const late = new Promise((_, reject) => {
        setTimeout(() => reject(new Error("no answer within LIMIT s")), LIMIT * 1000);
    });
    return Promise.race([typeof asked === "function" ? asked(given) : asked, late]);
}"""
WAIT = """([given]) => new Promise((resolve, reject) => {
    const end = performance.now() + LIMIT * 1000;
    const check = () => {
        if (EXPRESSION) resolve();
        else if (performance.now() > end) reject(new Error("did not come true within LIMIT s"));
        else setTimeout(check, 15);
    };
    check();
})"""


def ask(page, expression, given=None, *, limit=LIMIT):
    """The value of a JavaScript expression, or of a function of `given`; a promise is awaited.

    Playwright's own `evaluate` waits for a promise without end.
    """
    return page.evaluate(_filled(ASK, expression, limit), given)


def wait(page, condition, given=None, *, limit=LIMIT):
    """Until a JavaScript expression of `given` holds.

    Playwright's own `wait_for_function` evaluates a string in the page at every turn, which the
    page's security policy refuses.
    """
    page.evaluate(_filled(WAIT, condition, limit), [given])


def settled(page):
    ask(page, "freeatten.page.settled()")


def _filled(script, expression, limit):
    return script.replace("LIMIT", str(limit)).replace("EXPRESSION", expression)


BOXES = """(selector) => [...document.querySelectorAll(selector)]
    .filter((one) => one.checkVisibility())
    .map((one) => {
        const { left, top, right, bottom } = one.getBoundingClientRect();
        const inner = Boolean(one.closest(".fa-ticks"));
        return { name: `${one.className || one.tagName} ${one.textContent.slice(0, 20)}`,
            inner, left, top, right, bottom };
    })"""
FITTED = """!freeatten.page || freeatten.page.panels.every(({ plot: { canvas, ratio, width } }) =>
    canvas.width === Math.round(canvas.clientWidth * ratio)
        && width <= Math.max(freeatten.page.grid.clientWidth, 1))"""


def boxes_of(page, selector, width):
    """Every box, after checking that none sticks out."""
    wait(page, FITTED)
    ask(page, "freeatten.page?.settled()")
    # the browser tells the page of a new size when it comes to it
    wait(page, f"document.documentElement.scrollWidth <= {width}")
    boxes = page.evaluate(BOXES, selector)
    assert len(boxes) > 10
    assert [box for box in boxes if box["left"] < 0 or box["right"] > width] == []
    return boxes


def overlapping(boxes):
    """Names of boxes that share space; the legend's ticks lie in its boxes and count apart."""
    return [
        (a["name"], b["name"])
        for at, a in enumerate(boxes)
        for b in boxes[:at]
        if a["inner"] == b["inner"] and _overlap(a, b)
    ]


def _overlap(a, b):
    wide = min(a["right"], b["right"]) - max(a["left"], b["left"])
    high = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
    return wide > 0.5 and high > 0.5


def place(page, query, key, index=0):
    """Where the middle of a token's cell is drawn, in pixels of the page."""
    return tuple(
        page.evaluate(
            """([index, query, key]) => {
                const { panels, view } = freeatten.page;
                const { plot } = panels[index];
                plot.canvas.scrollIntoView({ block: "nearest" });
                const { left, top } = plot.canvas.getBoundingClientRect();
                return [left + plot.x(key + 0.5, view), top + plot.y(query + 0.5, view)];
            }""",
            [index, query, key],
        )
    )


def shown(page, index=0):
    """The weight that a panel's caption tells."""
    return float(page.locator(".fa-weight").nth(index).get_attribute("data-weight"))


def zoom_to(page, query, key, *spans):
    """Turns the wheel over a token until the view is of so many tokens, one span after another."""
    page.locator(".fa-canvas").first.scroll_into_view_if_needed()
    for span in spans:
        page.mouse.move(*place(page, query, key))
        for _ in range(4):
            page.mouse.wheel(0, -700)
        wait(page, "freeatten.page.view.span <= given", span)
    settled(page)
    page.mouse.move(*place(page, query, key))


POINTED = "freeatten.page.cross?.query === given[0] && freeatten.page.cross?.key === given[1]"
"""Whether the pointer is over a query and a key."""
