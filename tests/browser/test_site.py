"""The exported site in a real browser, opened from disk: charts, maps, links, looks."""

import shutil
from pathlib import Path

import pytest
from freeatten_app.main import app
from freeatten_app.site import heads
from pages import POINTED, boxes_of, overlapping, settled, shown, wait, zoom_to
from typer.testing import CliRunner

from freeatten_core import attention_weights
from freeatten_core.analysis.same_text import capture_rows
from freeatten_core.data.documents import path_documents

LENGTH = 1024
READY = "freeattenSite.ready"
SIZES = [(1280, 800), (800, 1000), (390, 844)]
COMPARED = (
    ".site-tabs, .site-button, h1, .site-answer, .site-chart, .site-name, .site-loss, "
    ".site-verdict, .site-lines svg, .site-choices label, h2, .site-why p, figure, summary, "
    ".site-caption, .site-scroll, footer"
)
MAPPED = (
    ".site-tabs, .site-bar > .site-button, h1, .site-answer, summary, .fa-button, .fa-choice, "
    ".fa-where, .fa-caption, .fa-canvas, .fa-legend-part, .fa-notes, .fa-side-title, "
    ".fa-sources-of, .fa-tick, footer"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"word {number} follows {number - 1}.\n" for number in range(900)))
    return path


@pytest.fixture(scope="module")
def site(text, tmp_path_factory) -> Path:
    """The start page."""
    out = tmp_path_factory.mktemp("exported") / "site"
    words = ["export", "--out", str(out), "--len", str(LENGTH), "--text", str(text)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    return out / "index.html"


def drawn(page, layout, theme):
    """Waits until the chart has been drawn like that."""
    wait(page, "document.getElementById('chart').dataset.drawn === given", f"{layout} {theme}")


def traces(page) -> int:
    found = page.locator("#chart .scatterlayer .trace").count()
    assert found == page.evaluate("document.getElementById('chart').data.length")
    return found


def inside(page):
    """Opens the maps and waits for them."""
    page.locator("#map-tab").click()
    wait(page, "freeatten.page?.panels.length === 4")
    settled(page)


# Compare


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_first_screen_fits_every_page(site, visit, width, height, tmp_path):
    page = visit(site, ready=READY, width=width, height=height)
    layout = {1280: "wide", 800: "stacked", 390: "phone"}[width]
    details = page.locator("details")
    folded = details.evaluate_all("all => all.map((one) => one.open)")
    unfold = "(all, given) => all.forEach((one, at) => { one.open = given[at]; })"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        drawn(page, layout, scheme)
        assert "which attention breaks?" in page.locator("h1").first.text_content()
        assert traces(page) == 15  # loss, Δ, and Δ beside S and W, of five
        assert page.locator("#lines li").count() == 5
        assert page.locator("#thumbnails canvas").count() == 2
        assert page.locator("#story-maps canvas").count() == 2
        for states in (folded, [True] * len(folded)):
            details.evaluate_all(unfold, states)
            assert overlapping(boxes_of(page, COMPARED, width)) == []
        assert len(page.screenshot(path=tmp_path / "page.png", full_page=True)) > 20_000


def test_the_chart_follows_the_window(site, visit):
    page = visit(site, ready=READY)
    drawn(page, "wide", "light")
    page.set_viewport_size({"width": 390, "height": 844})
    drawn(page, "phone", "light")
    wait(page, "document.querySelector('#chart .main-svg').clientWidth <= 390")


def test_every_variant_and_every_text_are_a_choice_and_a_link(site, visit):
    page = visit(site, ready=READY)
    page.locator("#all").click()
    wait(page, "document.querySelectorAll('#lines li').length === 9")
    wait(page, "document.querySelectorAll('#chart .scatterlayer .trace').length === 27")
    page.locator("#result").select_option("books-32x")
    wait(page, "document.title.includes('16,384')")
    state = page.evaluate("location.hash.slice(1)")
    again = visit(site, state, ready=READY)
    assert again.title() == page.title()
    assert again.locator("#lines li").count() == 9
    assert "books" in again.locator("#provenance").text_content()


def test_many_rows_are_chosen_without_a_server(site, visit):
    page = visit(site, "compare&result=cube%2Fbooks", ready=READY)
    drawn(page, "wide", "light")
    assert traces(page) == 16  # loss and Δ of eight
    page.locator("#picks summary").click()
    page.locator("#picks input[value='softmax']").uncheck()
    wait(page, "document.querySelectorAll('#lines li').length === 7")
    state = page.evaluate("location.hash.slice(1)")
    again = visit(site, state, ready=READY)
    assert traces(again) == 14
    assert "Softmax (standard)" not in again.locator("#lines").text_content()
    assert "tests/measure/cube.py" in again.locator("#command").text_content()


@pytest.mark.parametrize("state", ["compare&result=none&all=x", "nothing", "%%%"])
def test_a_broken_link_shows_the_first_screen(site, visit, state):
    page = visit(site, state, ready=READY)
    drawn(page, "wide", "light")
    assert page.locator("#lines li").count() == 5


def test_the_theme_can_be_switched(site, visit):
    page = visit(site, ready=READY, color_scheme="light")
    drawn(page, "wide", "light")
    page.locator("#theme").click()
    drawn(page, "wide", "dark")
    inside(page)
    corner = "at => [...freeatten.page.panels[at].plot.context.getImageData(1, 1, 1, 1).data]"
    assert page.evaluate(corner, 0) == [20, 23, 28, 255]
    page.locator("#theme").click()
    settled(page)
    assert page.evaluate(corner, 1) == [255, 255, 255, 255]


# Maps


def test_maps_are_loaded_when_they_are_shown(site, visit):
    page = visit(site, ready=READY)
    files = "[...document.querySelectorAll('script')].filter((one) => one.src.includes('/map-'))"
    assert page.evaluate(f"{files}.length") == 0
    page.locator("#map-tab").focus()
    page.keyboard.press("Enter")
    wait(page, "freeatten.page?.panels.length === 4")
    settled(page)
    first = page.evaluate(f"{files}.length")
    assert first <= 4
    page.locator(".fa-select").first.select_option(heads.CHOICES[1].name)
    wait(page, "freeatten.page.head === given", heads.CHOICES[1].name)
    settled(page)
    assert first <= page.evaluate(f"{files}.length") <= 8
    assert page.locator("#map-status").text_content() == ""


def test_zoom_to_one_token_and_read_its_weight(site, text, visit):
    page = visit(site, ready=READY)
    inside(page)
    captures, _ = capture_rows(heads.load(), path_documents(text), LENGTH)
    query, key = 700, 650
    zoom_to(page, query, key, 100, 5)
    wait(page, POINTED, [query, key])
    settled(page)
    for index, capture in enumerate(captures):
        picked = heads.pick(capture, heads.CHOICES[0])
        assert str(capture.variant) in page.locator(".fa-name").nth(index).text_content()
        vectors = (each[None, None] for each in capture.head(picked.layer, picked.head))
        expected = attention_weights(*vectors, capture.variant)[0, 0, query, key].item()
        assert shown(page, index) == pytest.approx(expected, rel=2e-2, abs=1e-7)
    token = captures[0].labels(key, key + 1)[0].strip()
    assert token in page.locator(".fa-where").text_content()


def test_a_link_restores_the_maps(site, visit):
    page = visit(site, ready=READY)
    inside(page)
    page.evaluate("freeatten.page.look({ query: 300, key: 200, span: 50 })")
    wait(page, "location.hash.includes('span=50')")
    state = page.evaluate("location.hash.slice(1)")
    again = visit(site, state, ready=READY)
    view = {"query": 300, "key": 200, "span": 50}
    assert again.evaluate("({...freeatten.page.view})") == view
    again.locator("#compare-tab").click()
    drawn(again, "wide", "light")
    again.locator("#map-tab").click()  # and back to the same view
    wait(again, "!document.getElementById('map').hidden")
    settled(again)
    assert again.evaluate("({...freeatten.page.view})") == view


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_maps_fit_every_page(site, visit, width, height, tmp_path):
    page = visit(site, "map", ready=READY, width=width, height=height)
    assert page.locator(".fa-canvas").count() == 4
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        settled(page)
        assert overlapping(boxes_of(page, MAPPED, width)) == []
        assert len(page.screenshot(path=tmp_path / "page.png", full_page=True)) > 20_000


def test_a_missing_file_is_told(site, visit, tmp_path):
    folder = shutil.copytree(site.parent, tmp_path / "site")
    gone = next(folder.glob("data/map-softmax-[0-9]*.js"))
    for path in folder.glob("data/map-softmax-[0-9]*.js"):
        path.unlink()
    page = visit(folder / "index.html", ready=READY)
    page.locator("#map-tab").click()
    wait(page, "document.querySelector('[role=alert]') !== null")
    told = page.locator("[role=alert]").text_content()
    assert f"data/{gone.stem}"[:16] in told
    assert "could not be read" in told
    assert any("ERR_FILE_NOT_FOUND" in text for text in visit.complaints)
    visit.complaints.clear()
