"""Chromium for the tests that need one: skipped without it, failed without it where CI runs."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHARED = "--process-per-site"
"""Pages of a site share a process, which compiles a script once."""
TEST_LIMIT = 60
"""Seconds after which a test's Chromium is ended, whatever call it is in."""


class Chromium:
    """A browser that is ended when a test hangs in it, and started anew for the next."""

    def __init__(self, kind: Any, path: str) -> None:
        self._kind, self._path = kind, path
        self._browser, self._process = None, 0
        self._shared: Any = None
        self._resting: set[str] = set()
        self.was_ended = False

    def browser(self) -> Any:
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._kind.launch(
                executable_path=self._path, args=[*ARGUMENTS, SHARED], timeout=30_000
            )
            found = self._browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
            processes = found["processInfo"]
            self._process = next(one["id"] for one in processes if one["type"] == "browser")
        return self._browser

    def context(self, address: str) -> Any:
        """The context that tests share: what a page has loaded, the next one need not.

        A page of the address's site stays open in it, and with it the site's process, which has
        the scripts compiled.
        """
        browser = self.browser()
        if self._shared is None or self._shared.browser != browser:
            self._shared, self._resting = browser.new_context(), set()
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}/"
        if site not in self._resting:
            self._shared.new_page().goto(site if parts.scheme == "file" else f"{site}robots.txt")
            self._resting.add(site)
        return self._shared

    @contextmanager
    def watched(self, seconds: float = TEST_LIMIT) -> Iterator[None]:
        """Calls that hang fail after this long: some of Playwright's have no limit of their own."""
        self.was_ended = False
        timer = threading.Timer(seconds, self._end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        if self.was_ended:
            pytest.fail(f"Chromium hung: it was ended after {seconds} s", pytrace=False)

    def _end(self) -> None:
        self.was_ended = True
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            self._process = 0


def installed() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def refuse(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def started_chromium() -> Iterator[Chromium]:
    """What a fixture yields; no longer than a module's or a package's, as Playwright's event loop
    must not run during other tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        refuse("playwright is not installed: pip install playwright")
    path = installed()
    if path is None:
        refuse("no Chromium: on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = Chromium(playwright.chromium, path)
        yield chromium
        chromium.browser().close()
