"""Chromium for the tests that need one: skipped without it, failed without it where CI runs."""

import os
import shutil
import signal
import threading
from contextlib import contextmanager

import pytest
from pages import ask

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCAL = ("file:", "data:", "blob:")
TEST_LIMIT = 60
"""Seconds after which a test's Chromium is ended, whatever call it is in."""
NO_FRAMES = "window.requestAnimationFrame = () => 0;"


class Chromium:
    """A browser that is ended when a test hangs in it, and started anew for the next."""

    def __init__(self, kind, path):
        self._kind, self._path = kind, path
        self._browser, self._process = None, 0
        self.was_ended = False

    def browser(self):
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._kind.launch(
                executable_path=self._path, args=ARGUMENTS, timeout=30_000
            )
            found = self._browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
            processes = found["processInfo"]
            self._process = next(one["id"] for one in processes if one["type"] == "browser")
        return self._browser

    @contextmanager
    def watched(self, seconds):
        """Calls that hang fail after this long: some of Playwright's have no limit of their own."""
        self.was_ended = False
        timer = threading.Timer(seconds, self._end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self):
        self.was_ended = True
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            self._process = 0


def refuse(reason):
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


# of a module: a package's would live as long as the session (this folder is no Python package),
# and Playwright's event loop must not run during other tests
@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        refuse("playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        refuse("no Chromium: on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = Chromium(playwright.chromium, path)
        yield chromium
        chromium.browser().close()


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
    with chromium.watched(TEST_LIMIT):
        yield open_page
        if not chromium.was_ended:
            for context in contexts:
                context.close()
    if chromium.was_ended:
        pytest.fail(f"Chromium hung: it was ended after {TEST_LIMIT} s", pytrace=False)
    assert complaints == []
    assert [url for url in requests if not url.startswith(tuple(open_page.homes))] == []
