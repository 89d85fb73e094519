"""One's own text in a real browser: shown as text alone, kept apart, scored in Compare."""

import re
import threading

import pytest
from app_page import (
    CONDITIONS,
    HOSTILE,
    LAYOUT,
    PAPERS,
    PROSE,
    SCORED,
    SETUP,
    SIZES,
    look_at,
    scored,
    status,
    unfold,
    upload,
)
from bounds import turns
from freeatten_app.server.cache import BoundedCache
from pages import MAPS, READY, boxes_of, overlapping, place, settled, wait

from freeatten_core import load_checkpoint, loss_by_length
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.comparison import compare


def test_a_file_that_is_too_long_is_cut_and_said_to_be(opened):
    page = opened(f"map&{SETUP}", MAPS)
    unfold(page)
    page.locator("#text").select_option("own")
    content = "é" * 2_500_000  # 5 MB
    file = {"name": "long.txt", "mimeType": "text/plain", "buffer": content.encode()}
    page.locator("#file").set_input_files(file)
    wait(page, "document.getElementById('status').textContent.includes('its first 1,000,000')")
    assert page.evaluate("document.getElementById('content').value.length") == 1_000_000


def test_a_pasted_text_that_is_too_long_is_cut_and_said_to_be(opened):
    page = opened("compare&result=own", "!document.getElementById('own').hidden")
    paste = "box => { box.value = 'é'.repeat(1000001); box.dispatchEvent(new Event('input')); }"
    page.locator("#content").evaluate(paste)  # typed by Playwright it takes more than ten seconds
    wait(page, "document.getElementById('status').textContent.includes('its first 1,000,000')")
    assert page.evaluate("document.getElementById('content').value.length") == 1_000_000


def test_hostile_text_is_only_text(opened):
    page = opened(f"map&{SETUP}", MAPS)
    unfold(page)
    page.locator("#text").select_option("own")
    name = "<img src=x onerror='window.hacked = 1'>.txt"
    content = (HOSTILE * 12).replace("\x00", "")
    upload(page, name, content, shows="onerror")
    wait(page, "document.getElementById('map-about').textContent.includes('onerror')", limit=READY)
    settled(page)
    page.evaluate("freeatten.page.look({ query: 0, key: 0, span: 12 })")
    settled(page)
    page.mouse.move(*place(page, 5, 2))
    for tab in ("entropy", "stages", "map"):
        page.locator(f"#{tab}-tab").click()
        wait(page, CONDITIONS[tab])
    look_at(page, HOSTILE * 12)
    wait(page, "document.getElementById('map-about').textContent.includes('pasted')", limit=READY)
    settled(page)
    assert page.evaluate("window.hacked") is None
    assert page.locator("#map img, #stages img, #entropy img").count() == 0


def test_a_link_of_a_pasted_text_works_in_its_own_browser(opened):
    page = opened(f"map&{SETUP}", MAPS)
    look_at(page, "a text of my own, " * 60)
    wait(page, "document.getElementById('map-about').textContent.includes('pasted')", limit=READY)
    wait(page, "location.hash.includes('digest=')")
    state = page.evaluate("location.hash.slice(1)")
    page.reload()
    condition = "document.getElementById('map-about')?.textContent.includes('pasted')"
    wait(page, condition, limit=READY)
    other = opened(state, "document.getElementById('status').textContent", apart=True)
    assert "only the browser has in which it was pasted" in status(other)


def test_two_sessions_apart(opened):
    pages = [opened(f"map&{SETUP}", MAPS, apart=True) for _ in range(2)]
    for page, word in zip(pages, ("apple", "pear"), strict=True):
        look_at(page, f"{word} " * 90)
    for page in pages:
        about = "document.getElementById('map-about').textContent.includes('pasted')"
        wait(page, about, limit=READY)
        settled(page)
    words = ["".join(page.evaluate("freeatten.page.tokens")) for page in pages]
    assert set(words[0].split()) == {"apple"}
    assert set(words[1].split()) == {"pear"}


def test_what_is_wrong_is_told(opened, tmp_path):
    page = opened(f"map&{SETUP}", MAPS)
    unfold(page)
    page.locator("#other").fill(str(tmp_path))
    page.locator("#look").click()
    wait(page, "document.getElementById('status').textContent.includes('lacks config.json')")
    page.locator("#other").fill("")
    page.locator("#file").evaluate("one => one.closest('[hidden]')?.removeAttribute('hidden')")
    binary = {"name": "x.txt", "mimeType": "text/plain", "buffer": b"\xff\xfe\x00"}
    page.locator("#file").set_input_files(binary)
    wait(page, "document.getElementById('status').textContent === 'x.txt is not UTF-8 text'")
    look_at(page, "   ")
    wait(page, "document.getElementById('status').textContent.includes('the text is empty')")
    assert "Traceback" not in page.content()


SCORED_LINK = re.compile("result=own&models=.+&made=[0-9a-f]{64}$")


def test_an_own_text_is_scored_in_compare(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    scored(page)
    title = page.locator("#title").text_content()
    assert title == "Trained on 512 tokens, asked to read 1,024: which attention breaks?"
    assert page.locator("#lines li").count() == 2
    checkpoint = load_checkpoint("softmax")
    (text,) = select_texts([Document("x", PROSE)], checkpoint.tokenizer, 1024, 1, 0).texts
    losses = loss_by_length(checkpoint, [text.tokens], [512, 1024])[0]
    first, last = page.locator(".site-loss").first.text_content().removeprefix("loss ").split(" → ")
    assert [float(first), float(last)] == pytest.approx(losses.tolist(), abs=0.0051)
    drawn = page.evaluate("[...document.getElementById('chart').data[0].y]")
    assert drawn == pytest.approx(losses.tolist(), abs=1e-4)
    page.locator("#tables summary").click()
    assert (
        page.locator("#tables th[scope=col]").all_text_contents()
        == ["512 tokens", "1,024 tokens"] * 2
    )
    command = page.locator("#command").text_content()
    assert command.endswith("--len 1024 --text - --seed 0 < pasted-text.txt")
    page.locator("#compare-tab").scroll_into_view_if_needed()
    with page.expect_download() as told:
        page.locator("#save-text").click()
    assert told.value.suggested_filename == "pasted-text.txt"
    assert told.value.path().read_text() == page.locator("#content").input_value()
    page.locator("#result").select_option("stdlib-16x")
    wait(page, "document.querySelectorAll('#lines li').length === 5")
    assert page.locator("#setup").is_hidden()
    page.locator("#result").select_option("own")
    wait(page, "document.querySelectorAll('#lines li').length === 2")
    assert SCORED_LINK.search(page.evaluate("location.hash"))


def test_the_map_goes_on_with_the_text_that_was_scored(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    scored(page)
    page.get_by_role("link", name="See why").click()
    wait(page, "document.getElementById('map-about').textContent.includes('pasted')", limit=READY)
    assert "".join(page.evaluate("freeatten.page.tokens")) == PROSE


def test_a_link_restores_a_scored_text_as_long_as_the_server_has_it(opened, served):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    scored(page)
    state = page.evaluate("location.hash.slice(1)")
    shown_first = "document.querySelectorAll('#lines li').length === 2"
    other = opened(state, shown_first, apart=True)
    assert other.locator("#content").input_value() == ""  # the result alone: no text travels
    analyses, _ = served
    analyses.kept = BoundedCache(analyses.kept.entries, analyses.kept.size)
    late = opened(state, "document.getElementById('status').textContent", apart=True)
    assert "only the browser has in which it was pasted" in status(late)
    assert late.locator("#chart").is_hidden()
    page.reload()  # has the text, and asks for it anew
    wait(page, f"window.freeattenApp?.ready && {shown_first}", limit=READY)


def test_a_text_too_short_is_told_and_kept(opened):
    page = opened("compare&result=own", "!document.getElementById('own').hidden")
    page.locator("#content").fill("no more than a few words")
    page.locator("#look").click()
    wait(page, "document.getElementById('status').textContent.includes('and 513 are needed')")
    assert page.locator("#content").input_value() == "no more than a few words"
    assert page.locator("#status").get_attribute("class") == "site-status site-error"


def test_a_hostile_file_is_only_text_in_compare(opened):
    page = opened("compare&result=own", "!document.getElementById('own').hidden")
    name = "<img src=x onerror='window.hacked = 1'>.txt"
    content = (HOSTILE * 30).replace("\x00", "")
    upload(page, name, content, shows="onerror")
    wait(page, SCORED, limit=READY)
    page.locator("#tables summary").click()
    assert name in page.locator("#provenance").text_content()
    assert page.locator("#compare img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_scoring_can_be_cancelled(opened, monkeypatch):
    page = opened("compare&result=own", "!document.getElementById('own').hidden")

    def endless(_, watch):
        watch.total(4)
        watch.advance(1)
        for _ in turns():
            watch.advance(0)

    monkeypatch.setattr("freeatten_core.measures.comparison.compare", endless)
    text = f"{PROSE} And one line that no other text here has."
    page.locator("#content").fill(text)
    page.locator("#look").click()
    wait(page, "document.getElementById('progress').value === 0.25")
    assert status(page).startswith("Scoring the text")
    page.locator("#cancel").click()
    wait(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert page.locator("#look").is_enabled()
    assert page.locator("#content").input_value() == text


def test_a_reload_finds_the_scoring_that_is_on_its_way(opened, monkeypatch):
    page = opened("compare&result=own", "!document.getElementById('own').hidden")
    began, end = [], threading.Event()

    def held(*given):
        began.append(given)
        end.wait(30)
        return compare(*given)

    monkeypatch.setattr("freeatten_core.measures.comparison.compare", held)
    said = "document.getElementById('status')?.textContent.startsWith('Scoring')"
    try:
        page.locator("#content").fill(f"{PROSE} Another line that no other text here has.")
        page.locator("#look").click()
        wait(page, said)
        page.reload()
        wait(page, said, limit=READY)
    finally:
        end.set()
    wait(page, SCORED, limit=READY)
    assert page.locator("#lines li").count() == 2
    assert len(began) == 1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_scored_text_fits_every_page(opened, width, height):
    drawn = "document.getElementById('chart').dataset.drawn"
    page = opened("", drawn, width=width, height=height)
    scored(page)
    for scheme in PAPERS:
        page.emulate_media(color_scheme=scheme)
        wait(page, f"{drawn}.endsWith(given)", scheme)
        assert overlapping(boxes_of(page, LAYOUT, width)) == []
