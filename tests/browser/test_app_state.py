"""One state of the page, in a real browser: links, the way back, jobs, a server that is gone."""

import re
import threading

from app_page import CURVES, SETUP, STAGES, look_at, status
from bounds import turns
from freeatten_app.server.cache import BoundedCache
from pages import LENGTH, MAPS, READY, settled, wait

from freeatten_core.analysis import capture

COUNT_ADDRESSES = """() => {
    window.addresses = 0;
    for (const name of ["replaceState", "pushState"]) {
        const write = history[name].bind(history);
        history[name] = (...given) => { window.addresses += 1; write(...given); };
    }
}"""
"""Chromium takes 200 in ten seconds and then complains, though not when Playwright starts it."""
SLIDE = """(slider) => {
    for (let at = 0; at < 300; at += 1) {
        slider.value = at;
        slider.dispatchEvent(new Event("input"));
    }
    slider.dispatchEvent(new Event("change"));
}"""


def test_a_text_that_is_not_here_has_no_words(opened):
    told = "document.getElementById('status').textContent"
    state = SETUP.replace("text=given", f"text={'0' * 64}")
    page = opened(f"map&{state}", f"{told}.includes('has the digest')")
    assert page.evaluate(told).startswith("no text here has the digest 000000000000…")


def test_a_long_move_does_not_flood_the_address(opened):
    page = opened(f"map&{SETUP}", MAPS)
    page.evaluate(COUNT_ADDRESSES)
    views = "Array.from({ length: 300 }, (_, at) => ({ query: 300 + at / 10, key: 200, span: 50 }))"
    page.evaluate(f"{views}.forEach((view) => freeatten.page.look(view))")
    wait(page, "location.hash.includes('q=329.9')")
    page.locator("#stages-tab").click()
    wait(page, STAGES)
    page.locator("#position").evaluate(SLIDE)
    wait(page, "location.hash.includes('position=299')")
    assert page.evaluate("window.addresses") < 20


def test_a_link_restores_the_map_also_when_its_analysis_is_gone(opened, served):
    page = opened(f"map&{SETUP}&head=layer+1%2C+head+2", MAPS)
    page.evaluate("freeatten.page.look({ query: 300, key: 200, span: 50 })")
    wait(page, "location.hash.includes('span=50')")
    state = page.evaluate("location.hash.slice(1)")
    analyses, _ = served
    analyses.kept = BoundedCache(analyses.kept.entries, analyses.kept.size)
    again = opened(state, MAPS)
    assert again.evaluate("({...freeatten.page.view})") == {"query": 300, "key": 200, "span": 50}
    assert again.evaluate("freeatten.page.head") == "layer 1, head 2"
    page.evaluate("freeatten.page.whole()")  # the first page goes on too, under another id
    settled(page)
    assert page.locator(".fa-failed").count() == 0


def test_a_failure_that_asks_ends_with_its_question(opened):
    page = opened("", "document.querySelectorAll('#thumbnails figcaption').length === 2")
    nothing = {"body": "null", "content_type": "application/json"}
    page.route(re.compile("component_server"), lambda route: route.fulfill(**nothing))
    page.locator("#retrieval-tab").click()
    wait(page, "document.getElementById('fault').textContent")
    said = page.locator("#fault").text_content()
    assert said.endswith("the server did not answer; is it still running?")


def test_parts_of_a_link_that_are_not_there_are_told(opened):
    page = opened(f"map&{SETUP.replace('len=512', 'len=777')}&seed=x", "true")
    told = "document.getElementById('status').textContent.includes(given)"
    wait(page, told, "The link asks for len=777", limit=READY)
    assert "which cannot be had here" in status(page)


def test_a_server_that_was_started_anew_says_what_it_does(opened, served, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)
    settled(page)
    end = threading.Event()

    def held(*given, advance, **options):
        advance(1, 4)
        end.wait(30)
        return capture(*given, **options)

    analyses, _ = served
    analyses.kept = BoundedCache(analyses.kept.entries, analyses.kept.size)
    monkeypatch.setattr("freeatten_core.analysis.capture", held)
    try:
        page.locator(".site-head:not([aria-pressed=true])").first.click()
        said = "document.getElementById('status').textContent"
        wait(page, f"{said}.includes('again, which the server no longer has')", limit=READY)
    finally:
        end.set()
    settled(page)


def test_what_is_no_longer_chosen_is_dimmed_and_says_so(opened):
    page = opened(f"map&{SETUP}", MAPS)
    assert page.locator("#stale").is_hidden()
    page.locator("#edit").click()
    page.locator("#length").select_option("1024")
    assert f"Still shown: {LENGTH} tokens of words.txt" in page.locator("#stale").text_content()
    opacity = "Number(getComputedStyle(document.getElementById('map-shown')).opacity)"
    assert page.evaluate(opacity) < 0.5
    page.locator("#undo").click()
    assert page.locator("#length").input_value() == str(LENGTH)
    assert page.evaluate(opacity) == 1
    assert page.locator("#stale").is_hidden()


def test_maps_of_something_else_are_dimmed_until_the_new_ones_are_there(opened):
    page = opened(f"map&{SETUP}", MAPS)
    settled(page)
    page.locator("#entropy-tab").click()
    wait(page, CURVES)
    look_at(page, "a text of another kind, " * 100)
    wait(page, "document.getElementById('entropy-about').textContent.includes('pasted')")
    wait(page, "!document.getElementById('look').disabled")
    page.route(re.compile("component_server"), lambda _: None)
    page.locator("#map-tab").click()
    opacity = "Number(getComputedStyle(document.getElementById('map-shown')).opacity)"
    wait(page, f"document.getElementById('map').ariaBusy === 'true' && {opacity} < 0.5")
    assert f"{LENGTH} tokens of words.txt" in page.locator("#map-about").text_content()
    page.unroute_all()  # what was held goes on
    wait(page, "document.getElementById('map').ariaBusy === 'false'")
    settled(page)
    assert page.evaluate(opacity) == 1
    assert "pasted" in page.locator("#map-about").text_content()


def test_a_text_stays_and_so_do_head_pin_and_zoom_when_its_length_changes(opened):
    page = opened(f"map&{SETUP}&head=layer+1%2C+head+2&q=100&k=50&span=60&pin=120", MAPS)
    words = page.evaluate("freeatten.page.tokens")
    page.locator("#edit").click()
    page.locator("#length").select_option("1024")
    page.locator("#look").click()
    about = "document.getElementById('map-about').textContent.startsWith('1,024')"
    wait(page, about, limit=READY)
    settled(page)
    assert page.evaluate("freeatten.page.tokens")[:LENGTH] == words
    assert page.evaluate("freeatten.page.head") == "layer 1, head 2"
    assert page.evaluate("freeatten.page.pin") == 120
    assert page.evaluate("({...freeatten.page.view})") == {"query": 100, "key": 50, "span": 60}
    wait(page, "location.hash.includes('len=1024')")
    page.go_back()
    wait(page, f"document.getElementById('map-about').textContent.startsWith('{LENGTH}')")
    assert page.locator("#length").input_value() == str(LENGTH)


def test_the_address_holds_a_request_and_a_reload_finds_its_job(opened, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)
    began, end = [], threading.Event()

    def held(*given, **options):
        began.append(given)
        end.wait(30)
        return capture(*given, **options)

    monkeypatch.setattr("freeatten_core.analysis.capture", held)
    try:
        look_at(page, "a text that takes its time, " * 30)
        assert "text=own" in page.evaluate("location.hash")
        wait(page, "document.getElementById('status').textContent.startsWith('Reading')")
        assert "is on its way" in page.locator("#stale").text_content()
        page.locator("#entropy-tab").click()  # goes on with the request, not with what is shown
        assert "text=own" in page.evaluate("location.hash")
        page.reload()
        wait(
            page,
            "document.getElementById('status')?.textContent.startsWith('Reading')",
            limit=READY,
        )
        assert page.locator("#content").input_value().startswith("a text that takes its time")
    finally:
        end.set()
    wait(page, f"window.freeattenApp?.ready && {CURVES}", limit=READY)
    assert "pasted text" in page.locator("#entropy-about").text_content()
    assert len(began) == 2  # one a model, though the page asked twice


def test_the_way_back_undoes_views_and_results_and_stays_in_the_app(opened):
    page = opened(f"map&{SETUP}&head=layer+1%2C+head+2", MAPS)
    page.evaluate("freeatten.page.look({ query: 300, key: 200, span: 50 })")
    wait(page, "location.hash.includes('span=50')")
    page.go_back()
    wait(page, "freeatten.page.view.span === given", LENGTH)
    page.go_forward()
    wait(page, "freeatten.page.view.span === 50")
    page.evaluate("location.hash = 'compare'")
    wait(page, "document.querySelectorAll('#lines li').length === 5")
    page.locator("#result").select_option("books-16x")
    wait(page, "document.getElementById('provenance').textContent.includes('books')")
    page.go_back()
    wait(page, "document.getElementById('result').value === 'stdlib-16x'")
    wait(page, "!document.getElementById('provenance').textContent.includes('books')")


def test_an_analysis_can_be_cancelled(opened, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)

    def endless(*_, advance, **__):
        for _ in turns():
            advance(1, 4)

    monkeypatch.setattr("freeatten_core.analysis.capture", endless)
    look_at(page, "one that takes for ever " * 20)
    wait(page, "document.getElementById('progress').value === 0.125")
    # an eighth of both models took 100 s: 700 s are left, not the 300 s of the first
    page.evaluate(
        "performance.now = ((now) => () => now() + 100000)(performance.now.bind(performance))"
    )
    wait(page, "document.getElementById('status').textContent.endsWith('about 12 min left')")
    page.locator("#cancel").click()
    wait(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert page.locator("#look").is_enabled()
    assert page.locator(".fa-canvas").count() == 2  # what was there stays


def test_a_search_for_heads_can_be_cancelled(opened, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)

    def endless(*_, advance, **__):
        for _ in turns():
            advance(1, 4)

    button = page.locator("#find-heads")
    with monkeypatch.context() as patched:
        patched.setattr("freeatten_core.analysis.capture", endless)
        button.click()
        wait(page, "document.getElementById('find-heads').textContent === 'Cancel'")
        assert status(page) == "Looking for heads"
        button.click()
        wait(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert button.text_content() == "Find for me"
    button.click()  # it can be asked for again
    wait(page, "document.querySelectorAll('.site-find').length > 10", limit=READY)


def test_the_scoring_of_every_token_can_be_cancelled(opened, monkeypatch):
    page = opened(f"entropy&{SETUP}&statistic=entropy", CURVES)

    def endless(*_, advance, **__):
        for _ in turns():
            advance(0)

    monkeypatch.setattr("freeatten_core.measures.by_token.losses_by_token", endless)
    page.locator("#statistic").select_option("loss")
    wait(page, "!document.getElementById('curves-cancel').hidden")
    page.locator("#curves-cancel").click()
    wait(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert page.locator("#statistic").input_value() == "entropy"
    assert page.locator("#curves-cancel").is_hidden()
    page.locator("#statistic").select_option("loss")
    wait(page, "!document.getElementById('curves-cancel').hidden")
    page.locator("#statistic").select_option("largest")  # what is chosen next does not wait for it
    wait(page, "document.getElementById('statistic-meaning').textContent.startsWith('largest')")
    assert page.locator("#curves-cancel").is_hidden()


def test_cancel_answers_at_once_whatever_the_job_does(opened, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)
    end = threading.Event()

    def deaf(*_, **__):
        end.wait(30)
        raise RuntimeError("ended by the test")

    monkeypatch.setattr("freeatten_core.analysis.capture", deaf)
    try:
        look_at(page, "one that hears nothing " * 20)
        wait(page, "document.getElementById('status').textContent.startsWith('Reading')")
        page.evaluate("document.getElementById('cancel').click()")
        assert status(page) == "Cancelling…"
        wait(page, "document.getElementById('status').textContent === 'Cancelled.'", limit=3)
        assert page.locator("#look").is_enabled()
    finally:
        end.set()
