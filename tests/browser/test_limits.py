"""A page that hangs is a failing test, within seconds and with a sentence."""

import time

import pytest
from pages import ask, wait

Error = pytest.importorskip("playwright.sync_api").Error


@pytest.fixture
def blank(tmp_path, visit):
    path = tmp_path / "blank.html"
    path.write_text('<!doctype html><title>blank</title><link rel="icon" href="data:,">')
    return lambda: visit(path, ready="true")


def test_a_promise_that_is_never_kept(blank):
    with pytest.raises(Error, match=r"no answer within 0\.2 s"):
        ask(blank(), "new Promise(() => {})", limit=0.2)


def test_a_condition_that_never_comes_true(blank):
    with pytest.raises(Error, match=r"did not come true within 0\.2 s"):
        wait(blank(), "given > 1", 1, limit=0.2)


def test_a_page_that_never_stops_working(blank, chromium):
    page = blank()
    began = time.monotonic()
    failed = pytest.raises(pytest.fail.Exception, match=r"it was ended after 0\.5 s")
    with failed, chromium.watched(0.5), pytest.raises(Error, match="closed"):
        page.evaluate("for (;;) {}")
    assert time.monotonic() - began < 10
    assert chromium.was_ended
    chromium.was_ended = False
    assert blank().title() == "blank"
