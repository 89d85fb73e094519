"""Pages that are opened in the tests' browser."""

import pytest
from chromium import chromium
from pages import ask

__all__ = ["chromium", "visit"]

LOCAL = ("file:", "data:", "blob:")
NO_FRAMES = "window.requestAnimationFrame = () => 0;"


@pytest.fixture
def visit(chromium):
    """Opens a page; at the end nothing may be in its console and nothing may have left."""
    contexts, complaints, requests = [], [], []

    def open_page(
        path,
        state="",
        *,
        ready="freeatten.page.ready",
        frames=True,
        width=1280,
        height=800,
        **options,
    ):
        options = {"viewport": {"width": width, "height": height}} | options
        context = chromium.browser().new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        if not frames:
            context.add_init_script(NO_FRAMES)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        address = path if isinstance(path, str) else path.as_uri()
        page.goto(address + (f"#{state}" if state else ""))
        ask(page, ready)
        return page

    open_page.complaints = complaints
    open_page.homes = list(LOCAL)
    with chromium.watched():
        yield open_page
        if not chromium.was_ended:
            for context in contexts:
                context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(tuple(open_page.homes))] == []
