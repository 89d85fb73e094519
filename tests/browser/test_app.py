"""The served app in a real browser: every tab, numbers, links, cancel, hostile text, sessions."""

import csv
import json
import re
import threading
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from bounds import turns
from freeatten_app.server.cache import BoundedCache
from freeatten_app.server.texts import TextSource
from freeatten_app.tabs.evidence import story
from pages import (
    LENGTH,
    MAPS,
    READY,
    ask,
    boxes_of,
    overlapping,
    place,
    settled,
    shown,
    wait,
    zoom_to,
)

from freeatten_core import attention_weights, load_checkpoint, loss_by_length
from freeatten_core.analysis import (
    AttentionMap,
    by_position,
    capture,
    row_stages,
    thumbnails,
)
from freeatten_core.basics.assets import assets
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.by_token import losses_by_token
from freeatten_core.models.rows import modified_row
from freeatten_core.results import stored as stored_module
from freeatten_core.results.citation import bibtex
from freeatten_core.results.stored import stored_comparisons

MODELS = ("softmax", "lssar-p15")
SETUP = f"models={','.join(MODELS)}&text=given&len={LENGTH}&seed=0"
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
SIZES = [(1280, 800), (390, 844)]
SVG = "http://www.w3.org/2000/svg"
HOSTILE = (
    "<script>window.hacked = 1</script> </script><img src=x onerror='window.hacked = 1'> "
    "${window.hacked = 1} {{window.hacked}} <!--<script> \x00\x1b\r\n\t\x7f \u2028\ufeff \u202egnik"
    " <b onmouseover='window.hacked = 1'>b</b> &lt;script&gt; مرحبا 👩‍💻\n"
)
LAYOUT = (
    ".site-tabs, .site-bar > .site-button, h1, .site-answer, .site-setup legend, "
    ".site-setup label, .site-run, .site-choices label, .site-head, .site-caption, "
    ".site-downloads, .fa-button, .fa-choice, .fa-where, .fa-caption, .fa-canvas, "
    ".fa-side-title, .site-plot, "
    ".site-sliders label, .site-command, .site-name, .site-loss, .site-verdict, "
    ".site-page h2, .site-page summary, .site-own label, .site-ticks label, footer"
)


PICTURES = "document.querySelectorAll('.site-head canvas[width=\"64\"]').length >= 30"
CURVES = "document.querySelector('#curves .scatterlayer .trace')"
STAGES = "document.getElementById('stage-charts').dataset.drawn"
RETRIEVED = (
    "document.querySelectorAll('#retrieval-shown .scatterlayer').length >= 2"
    " && document.querySelectorAll('#retrieval-shown .heatmaplayer .hm').length === 7"
)
USED = "document.querySelectorAll('#use-shown .scatterlayer').length >= 5"
CARDS = "document.getElementById('cards').children.length === 8"
CONDITIONS = {
    "map": MAPS,
    "entropy": CURVES,
    "stages": STAGES,
    "retrieval": RETRIEVED,
    "use": USED,
    "about": CARDS,
}


PIXELS = """one => {
    const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
    return [...new Uint32Array(data.buffer)];
}"""


def captured(analyses, index, *, length=LENGTH, modifiers=""):
    """The library's own pass over the text that the page shows."""
    row = modified_row(load_checkpoint(MODELS[index]), modifiers)
    asked = analyses.asked("x", {"kind": "given", "name": "", "content": ""}, length, 0)
    tokens, _ = analyses.texts.tokens(asked.text, row.checkpoint.tokenizer, length, 0)
    return capture(row.checkpoint, tokens, variant=row.variant)


def downloaded(page, selector):
    """The bytes of the file that a button saves."""
    with page.expect_download() as told:
        page.locator(selector).click()
    return told.value.path().read_bytes()


def values_of(saved):
    """A CSV's caption, and its lines as dictionaries."""
    lines = saved.decode().splitlines(keepends=True)
    caption = [line for line in lines if line.startswith("# ")]
    return "".join(caption), list(csv.DictReader(lines[len(caption) :]))


def texts_of(saved):
    """The texts of an SVG."""
    return [each.text or "" for each in ElementTree.fromstring(saved).iter(f"{{{SVG}}}text")]


def status(page):
    return page.locator("#status").text_content()


def unfold(page):
    """Opens the set-up, which is a line where maps are shown."""
    page.locator("#fold").evaluate("one => { one.open = true; }")


# Tabs


def test_compare_opens_with_a_result(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn === 'wide light'")
    assert "which attention breaks?" in page.title()
    names = "[...document.querySelectorAll('meta[property=\"og:title\"]')].map(one => one.content)"
    assert page.evaluate(names) == ["freeatten"]
    metas = page.evaluate("[...document.querySelectorAll('meta')].map(one => one.content).join()")
    assert "gradio" not in metas.lower()
    picture = page.locator("meta[property='og:image']").get_attribute("content")
    seen = page.request.get(picture)
    assert seen.body().startswith(b"\x89PNG")
    assert seen.headers["content-type"] == "image/png"
    assert page.evaluate("document.querySelectorAll('main').length") == 1
    assert page.locator("#lines li").count() == 4
    page.locator("#all").click()
    wait(page, "document.querySelectorAll('#lines li').length === 8")
    assert "all=1" in page.evaluate("location.hash")
    stored = stored_comparisons()["stdlib-16x"]
    caption, lines = values_of(downloaded(page, "#compare-csv"))
    assert stored["command"] in caption
    of_softmax = [each for each in lines if each["variant"] == "softmax"]
    assert len([each for each in lines if each["measure"] == "loss"]) == 5 * 8
    low, high = stored["variants"][0]["ci95"][0]
    assert of_softmax[0] == {
        "measure": "loss",
        "variant": "softmax",
        "tokens": "512",
        "value": str(stored["variants"][0]["loss"][0]),
        "low": str(low),
        "high": str(high),
        "n": str(stored["texts"]),
    }
    assert {each["measure"] for each in of_softmax} == {
        "loss",
        "delta",
        "sliding_delta",
        "window_delta",
    }
    assert downloaded(page, "#compare-png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "rows", "ticked"),
    [("systems/code", 23, "softmax+yarn"), ("cube/code", None, "softmax-r:p=3")],
)
@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "dark")])
def test_of_many_rows_lines_are_chosen_and_a_link_keeps_them(
    opened, name, rows, ticked, width, height, scheme
):
    options = {"width": width, "height": height, "color_scheme": scheme}
    layout = "wide" if width > 1000 else "phone"
    drawn = f"document.getElementById('chart').dataset.drawn === '{layout} {scheme}'"
    page = opened(f"compare&result={name}", drawn, **options)
    stored = {row["variant"]: row for row in stored_comparisons()[name]["variants"]}
    assert rows in (None, len(stored))
    first = page.locator("#lines li").count()
    assert first <= 8
    assert page.evaluate("document.getElementById('chart').data.length") == 2 * first
    assert page.locator("#all").is_hidden()
    assert overlapping(boxes_of(page, LAYOUT, width)) == []
    page.locator("#picks summary").click()
    assert page.locator("#picks label").count() == len(stored)
    assert overlapping(boxes_of(page, LAYOUT, width)) == []
    page.locator(f"#picks input[value='{ticked}']").check()
    page.locator("#picks input[value='lssa']").uncheck()
    page.locator("#picks input[value='softmax']").uncheck()
    wait(page, "document.getElementById('chart').data.length === given", 2 * (first - 1))
    assert f"{first - 1} of {len(stored)}" in page.locator("#picks summary").text_content()
    tables = page.locator("#tables table")
    assert [tables.nth(at).locator("tbody tr").count() for at in (0, 1)] == [len(stored)] * 2

    again = opened(page.evaluate("location.hash.slice(1)"), drawn, **options)
    losses = again.evaluate("document.getElementById('chart').data.map(({ y }) => y)")
    assert stored[ticked]["loss"] in losses
    assert stored["softmax"]["loss"] not in losses
    assert len(losses) == 2 * (first - 1)
    again.locator("#result").select_option("stdlib-16x")
    wait(again, "!document.getElementById('all').parentElement.hidden")
    assert again.locator("#picks").is_hidden()
    assert again.locator("#lines li").count() == 4


def test_a_picture_names_every_line_once_and_says_how_it_was_made(opened):
    page = opened("compare&result=systems/code", "document.getElementById('chart').dataset.drawn")
    page.locator("#picks summary").click()
    for box in page.locator("#picks input").all():
        box.check()
    wait(page, "document.getElementById('chart').data.length === 2 * 23")
    stored = stored_comparisons()["systems/code"]
    words = texts_of(downloaded(page, "#compare-svg"))
    entries = [each for each in words if ": loss " in each]
    assert len(entries) == len(stored["variants"]) == 23
    assert len({each.split(": loss ")[0] for each in entries}) == 23
    assert page.locator("#title").text_content() in " ".join(words)
    made = "".join(words).replace(" ", "")
    assert f"Made by {stored['command']}".replace(" ", "") in made
    png = downloaded(page, "#compare-png")
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") > 2000


@pytest.mark.parametrize("state", ["rows=none", "rows=", "rows=%3Cb%3E%2Csigmoid"])
def test_a_link_to_rows_that_are_not_there_shows_the_first(opened, state):
    drawn = "document.getElementById('chart').dataset.drawn"
    page = opened(f"compare&result=systems%2Fcode&{state}", drawn)
    assert page.locator("#lines li").count() == page.locator("#picks input:checked").count() == 7


def test_why_is_shown_of_the_result_that_is_open(opened):
    page = opened("", "document.querySelectorAll('#thumbnails figcaption').length === 2")
    said = page.locator("#evidence").text_content()
    assert "8,192 tokens of this project's own writing" in said
    drawn = page.locator("#thumbnails canvas").last.evaluate(PIXELS)
    assert len(set(drawn)) > 20
    link = page.locator("#thumbnails a").last.get_attribute("href")
    assert link.startswith("#map&models=softmax-ls&text=writing&len=8192")
    page.locator("#result").select_option("far/code")
    wait(page, "document.getElementById('evidence').textContent.includes('YaRN')")
    assert page.locator("#evidence").text_content() != said
    page.locator("#result").select_option("cube/code")
    wait(page, "document.getElementById('evidence').textContent.includes('not shipped')")
    assert page.locator("#thumbnails canvas").count() == 0


def test_the_words_of_a_results_texts_are_shown_where_a_file_has_their_digest(
    opened, served, monkeypatch
):
    analyses, _ = served
    document = analyses.texts.documents(TextSource("given"))[0]
    stored = stored_comparisons()
    text = {"manifest": {"elsewhere.txt": "0" * 64, "as-it-was.txt": document.sha256}}
    name = next(iter(stored))
    changed = stored | {name: stored[name] | {"text": stored[name]["text"] | text}}
    monkeypatch.setattr(stored_module, "stored_comparisons", lambda: changed)
    page = opened(f"compare&result={name}", "document.getElementById('chart').dataset.drawn")
    page.get_by_text("The words of its texts").press("Enter")
    wait(page, "document.getElementById('words-said').textContent.includes('on this machine')")
    said = page.locator("#words-said").text_content()
    assert said == "Of the 2 texts of this result 1 is on this machine, by their digests."
    assert page.get_by_label("a text of this result").input_value() == document.sha256
    page.locator("#words-link").press("Enter")
    wait(page, MAPS, limit=READY)
    assert document.name in page.locator("#map-about").text_content()
    line = page.locator("#edit").text_content()
    assert document.name in line
    again = opened(page.evaluate("location.hash.slice(1)"), MAPS)
    assert again.locator("#text option:checked").text_content() == document.name


def test_a_text_that_is_not_here_has_no_words(opened):
    told = "document.getElementById('status').textContent"
    state = SETUP.replace("text=given", f"text={'0' * 64}")
    page = opened(f"map&{state}", f"{told}.includes('has the digest')")
    assert page.evaluate(told).startswith("no text here has the digest 000000000000…")


def test_the_story_goes_on_by_keyboard_and_every_step_is_a_link(opened, served):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    before = set(served[0].jobs._jobs)
    said = page.locator("#story-said").text_content()
    assert said.startswith("512 tokens, as long as in training")
    page.locator("#story-step").press("ArrowRight")
    page.locator("#story-step").press("ArrowRight")
    assert page.locator("#story-said").text_content().startswith("2,048 tokens, 4 times as many")
    assert page.locator("#story-step").get_attribute("aria-valuetext") == "2,048 tokens"
    assert page.locator("#story-maps canvas").count() == 2
    named = """[...document.querySelectorAll("#story-legend li")].map((one) =>
        [one.textContent, one.querySelector("line").getAttribute("stroke")])"""
    lines = story()["rows"]
    assert page.evaluate(named) == [[one["label"], one["color"]] for one in lines]
    strokes = "all => all.map((one) => one.getAttribute('stroke'))"
    assert page.locator("#story-curves polyline").evaluate_all(strokes) == 2 * [
        one["color"] for one in lines
    ]
    wait(page, "location.hash.includes('step=2048')")
    points = (
        "document.querySelector('#story-curves polyline')?.getAttribute('points').split(' ').length"
    )
    assert page.evaluate(points) == 2048 // 64
    again = opened(page.evaluate("location.hash.slice(1)"), f"{points} === 32")
    assert "len=2048" in again.locator("#story-link").get_attribute("href")
    assert set(served[0].jobs._jobs) == before  # nothing was computed


def test_zoom_to_one_token_and_read_its_weight(opened, served):
    page = opened(f"map&{SETUP}", MAPS)
    layer, head = (int(part) for part in page.evaluate("freeatten.page.head.match(/\\d+/g)"))
    query, key = 400, 397
    zoom_to(page, query, key, 60, 5)
    wait(page, "[...document.querySelectorAll('.fa-weight')].every((one) => one.dataset.weight)")
    for index in range(2):
        found = captured(served[0], index)
        vectors = (each[None, None] for each in found.head(layer, head))
        expected = attention_weights(*vectors, found.variant)[0, 0, query, key].item()
        assert shown(page, index) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    sources = page.locator(".fa-sources").first.locator("button")
    wait(page, "document.querySelectorAll('.fa-source').length > 2")
    assert "go there" in sources.first.get_attribute("aria-label")


def test_a_long_text_has_a_preview_until_its_whole_map_is_there(opened, monkeypatch):
    monkeypatch.setattr("freeatten_app.server.analyses.BUILT_AT_ONCE", 512)
    end, make = threading.Event(), AttentionMap.make_far_view

    def held(self, advance):
        end.wait(30)
        return make(self, advance)

    monkeypatch.setattr(AttentionMap, "make_far_view", held)
    setup = SETUP.replace(f"len={LENGTH}", "len=2048").replace(",lssar-p15", "")
    try:
        page = opened(f"map&{setup}", MAPS)
        settled(page)
        rough = page.locator(".fa-rough")
        assert "preview: 4 of every 8 rows" in rough.text_content()
        before = page.evaluate(f"({PIXELS})(freeatten.page.panels[0].overview.image)")
        zoom_to(page, 1500, 1490, 60, 5)  # what is near is exact at once
        wait(page, "document.querySelector('.fa-weight').dataset.weight")
        assert page.evaluate("freeatten.page.panels[0].tile.cell") == 1
    finally:
        end.set()
    wait(page, "document.querySelector('.fa-rough').hidden", limit=READY)
    settled(page)
    assert rough.text_content() == ""
    after = page.evaluate(f"({PIXELS})(freeatten.page.panels[0].overview.image)")
    assert after != before


@pytest.mark.parametrize(
    "length",
    [
        8192,
        # 16 times the pairs of 8k for the same way through page and server
        pytest.param(32_768, marks=pytest.mark.slow),
    ],
)
def test_zoom_to_one_token_of_a_long_text(opened, monkeypatch, length):
    captures = []

    def first_layer(*given, **options):
        one = options | {"layers": [0]}  # all would take minutes
        captures.append(capture(*given, **one))
        return captures[-1]

    page = opened(f"map&{SETUP.replace(',lssar-p15', '')}", MAPS)
    monkeypatch.setattr("freeatten_core.analysis.capture", first_layer)
    unfold(page)
    page.locator("#length").select_option(str(length))
    page.locator("#text").select_option("own")
    lines = (f"{number} comes after {number - 1}.\n" for number in range(4800))
    upload(page, "long.txt", "".join(lines), shows="long.txt")
    about = "document.getElementById('map-about').textContent.startsWith(given)"
    wait(page, about, f"{length:,} tokens", limit=50)
    query, key = length - 2766, length - 2768
    page.evaluate(f"freeatten.page.look({{ query: {query - 2}, key: {key - 2}, span: 5 }})")
    settled(page)
    page.mouse.move(*place(page, query, key))
    wait(page, "document.querySelector('.fa-weight').dataset.weight")
    found = captures[-1]
    layer, head = (int(part) for part in page.evaluate("freeatten.page.head.match(/\\d+/g)"))
    vectors = (each[None, None] for each in found.head(layer, head))
    weights = attention_weights(*vectors, found.variant, rows=slice(query, query + 1))[0, 0, 0]
    assert shown(page) == pytest.approx(weights[key].item(), rel=1e-3)
    wait(page, "document.querySelector('.fa-side-title').textContent.includes(given)", f"{query:,}")
    strongest = page.locator(".fa-source").first.get_attribute("aria-label")
    assert strongest.startswith(f"key {int(weights.argmax()):,} ")


def test_heads_are_sorted_and_chosen(opened):
    page = opened(f"map&{SETUP}", MAPS)
    assert page.locator(".site-head").count() == 15
    page.locator("#sort").select_option("largest")
    values = first_values(page)
    assert values == sorted(values, reverse=True)
    page.locator("#lowest").check()
    assert first_values(page) == sorted(values)
    page.locator(".site-head").last.focus()
    page.keyboard.press("Enter")
    chosen = page.locator(".site-head").last.get_attribute("data-head")
    wait(page, "freeatten.page.head === given", chosen)
    settled(page)
    state = page.evaluate("location.hash.slice(1)")
    assert "sort=largest&lowest=1" in state
    assert page.locator(".site-head[aria-pressed=true]").get_attribute("data-head") == chosen
    again = opened(state, MAPS)
    assert again.locator(".site-head").last.get_attribute("data-head") == chosen
    assert first_values(again) == sorted(values)


def first_values(page):
    """What the overview tells of the first model, head by head."""
    numbers = page.locator(".site-head-maps + .site-head-value").all_text_contents()
    return [float(text.removeprefix("softmax")) for text in numbers]


def test_every_head_has_a_picture_of_each_model(opened, served):
    page = opened(f"map&{SETUP}", f"{MAPS} && {PICTURES}")
    assert "64 × 64 cells" in page.locator("#heads-note").text_content()
    found = page.locator(".site-head").nth(8).locator("canvas").last
    assert found.get_attribute("title") == "lssar:p=15"
    drawn = np.array(found.evaluate(PIXELS)).reshape(64, 64)
    codes = thumbnails(captured(served[0], 1)).codes[2][2]
    assert (drawn[np.triu_indices(64, 1)] == 0).all()  # a later token is not visible
    seen = np.tril_indices(64)
    colours = dict(zip(codes[seen].tolist(), drawn[seen].tolist(), strict=True))
    assert [colours[code] for code in codes[seen].tolist()] == drawn[seen].tolist()
    assert len(set(colours.values())) > 20


def test_what_a_window_hides_is_hidden_everywhere(opened):
    setup = "models=softmax%2Bwindow&text=given&len=1024&seed=0"
    one = "document.querySelectorAll('.site-head canvas[width=\"64\"]').length >= 15"
    page = opened(f"map&{setup}", f"{MAPS} && {one}")
    canvas = page.locator(".site-head").first.locator("canvas")
    drawn = np.array(canvas.evaluate(PIXELS)).reshape(64, 64) != 0
    assert (drawn == np.tril(np.triu(np.ones((64, 64)), -32)).astype(bool)).all()
    kinds = ask(
        page,
        """([query, keys]) => {
            const { source } = freeatten.page.panels[0];
            const kind = async (key) => (await source.weight(query, key)).kind;
            return Promise.all(keys.map(kind));
        }""",
        [900, [388, 389, 900, 901]],
    )
    assert kinds == ["hidden", "weight", "weight", "hidden"]
    assert "or one before the window" in page.locator(".fa-notes").text_content()
    page.locator("#stages-tab").click()
    wait(page, STAGES)
    assert page.locator("#last-value").text_content() == "all 512"
    page.locator("#position").fill("99")
    wait(page, "document.getElementById('last-value').textContent === 'all 100'")


def test_modifiers_are_written_behind_a_checkpoint(opened, served):
    page = opened(f"map&{SETUP}", MAPS)
    unfold(page)
    page.locator("#modifiers summary").click()
    assert "+yarn" in page.locator("#modifiers").text_content()
    page.locator("#other").fill("softmax+yorn")
    page.locator("#look").click()
    wait(page, 'document.getElementById("status").textContent.includes("did you mean \'yarn\'")')
    page.locator("#length").select_option("1024")
    page.locator("#other").fill("softmax+yarn")
    page.locator("#look").click()
    names = "[...document.querySelectorAll('.fa-name')].map((one) => one.textContent).join()"
    wait(page, f"{names} === 'softmax,lssar:p=15,softmax+yarn'", limit=READY)
    settled(page)
    page.evaluate("freeatten.page.point({ query: 900.5, key: 880.5 })")
    wait(page, "document.querySelectorAll('.fa-weight')[2].dataset.weight")
    layer, head = (int(part) for part in page.evaluate("freeatten.page.head.match(/\\d+/g)"))
    found = captured(served[0], 0, length=1024, modifiers="+yarn")
    vectors = (each[None, None] for each in found.head(layer, head))
    expected = attention_weights(*vectors, "softmax")[0, 0, 900, 880].item()
    assert shown(page, 2) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert shown(page, 2) != pytest.approx(shown(page, 0), rel=1e-3)
    assert page.locator("[name=model][value='softmax+yarn']").is_checked()
    for tab in ("entropy", "stages"):
        page.locator(f"#{tab}-tab").click()
        wait(page, CONDITIONS[tab])
    assert "--checkpoint softmax+yarn" in page.locator("#entropy-command").text_content()
    again = opened(page.evaluate("location.hash.slice(1)"), STAGES)
    models = again.locator("#stage-model option").all_text_contents()
    assert models == ["softmax", "lssar:p=15", "softmax+yarn"]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_long_names_fit_the_overview(opened, width, height):
    models = "softmax,lssar-p15,softmax%2Bswap:to=lssar:p=15,softmax%2Byarn%2Blogn"
    state = f"map&models={models}&text=given&len={LENGTH}&seed=0"
    page = opened(state, f"{MAPS} && {PICTURES}", width=width, height=height)
    spans = page.locator(".site-head-value > span").all_text_contents()[:4]
    assert spans == ["softmax", "lssar:p=15", "softmax+swap:to=lssar:p=15", "softmax+yarn+logn"]
    wide = "[...given].filter((one) => one.scrollWidth > one.clientWidth).length"
    assert page.locator(".site-head").evaluate_all(f"given => {wide}") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    places = (
        page.locator(".site-head")
        .first.locator("canvas")
        .evaluate_all("given => given.map((one) => one.getBoundingClientRect().right)")
    )
    assert max(places) <= page.locator(".site-head").first.evaluate(
        "one => one.getBoundingClientRect().right"
    )


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


def test_downloads_of_the_map(opened, served):
    view = "q=10&k=5&span=40&pin=30"
    page = opened(f"map&{SETUP}&{view}&head=layer+1%2C+head+2", MAPS)
    command = page.locator("#map-command").text_content()
    assert "--query 10:50 --key 5:45 --html map.html --len 512" in command
    caption, lines = values_of(downloaded(page, "#save-csv"))
    for part in (command, "layer 1, head 2", "512 tokens of words.txt", "at 30 is pinned"):
        assert part in caption
    found = captured(served[0], 1)
    weights = AttentionMap.of(found, 1, 2).weights(10, 51, 0, 512)
    for model in ("softmax", "lssar:p=15"):
        of_model = [each for each in lines if each["model"] == model]
        assert {int(each["query"]) for each in of_model} == set(range(10, 50))
        assert all(int(each["key"]) <= int(each["query"]) for each in of_model)
    for each in of_model:
        query, key = int(each["query"]), int(each["key"])
        assert float(each["weight"]) == pytest.approx(float(weights[query - 10, key]), rel=1e-4)
        assert each["query_token"] == found.labels(query, query + 1)[0]
        assert each["key_token"] == found.labels(key, key + 1)[0]
        assert (each["layer"], each["head"], each["cell"]) == ("1", "2", "1")
    with page.expect_download() as told:
        page.get_by_role("button", name="save this view as SVG").click()
    words = " ".join(texts_of(told.value.path().read_bytes()))
    for part in (command, "layer 1, head 2", "queries 10 to 49", "512 tokens of words.txt"):
        assert part in words


def test_a_map_saved_as_a_page_opens_where_it_was(opened, visit, tmp_path):
    page = opened(f"map&{SETUP}&q=10&k=5&span=40&pin=30&head=layer+1%2C+head+2", MAPS)
    path = tmp_path / "map.html"
    path.write_bytes(downloaded(page, "#save-page"))
    assert "freeatten map --checkpoint softmax --checkpoint lssar-p15" in path.read_text()
    saved = visit(path)
    assert ask(saved, "({...freeatten.page.view})") == {"query": 10, "key": 5, "span": 40}
    assert ask(saved, "freeatten.page.pin") == 30
    assert ask(saved, "freeatten.page.difference") is None


def test_entropy_draws_every_model(opened, served):
    page = opened(f"entropy&{SETUP}&statistic=largest", CURVES)
    wait(page, "document.querySelectorAll('#curves .scatterlayer .trace').length === 2")
    page.locator("#curve-head").select_option("layer 2, head 1")
    drawn = page.evaluate("[...document.getElementById('curves').data[1].y]")
    expected = by_position(captured(served[0], 1), "largest", 2, 256)[1][1]
    assert torch.allclose(torch.tensor(drawn), expected, rtol=1e-3)
    assert "of=layer" in page.evaluate("location.hash")
    caption, lines = values_of(downloaded(page, "#curves-csv"))
    assert "layer 2, head 1" in caption
    assert {(each["model"], each["layer"], each["head"]) for each in lines} == {
        ("softmax", "2", "1"),
        ("lssar:p=15", "2", "1"),
    }
    of_second = [float(each["value"]) for each in lines if each["model"] != "softmax"]
    assert torch.allclose(torch.tensor(of_second), expected, rtol=1e-3)
    commands = page.locator("#entropy-command").text_content().splitlines()
    assert all("--layer 2 --head 1" in command for command in commands)
    # the legend's mean is that of the head that is drawn
    told = page.locator("#curve-lines .site-loss").last.text_content()
    assert "layer 2, head 1" in told
    assert float(told.split()[-1]) == pytest.approx(float(expected.mean()), rel=1e-2)
    assert told in " ".join(texts_of(downloaded(page, "#curves-svg")))


def test_a_stretch_of_a_curve_leads_to_the_map_by_pointer_and_by_keyboard(opened):
    page = opened(f"entropy&{SETUP}&of=layer+3%2C+head+1", CURVES)
    chart = page.locator("#curves")
    chart.scroll_into_view_if_needed()
    box, margin = (
        chart.bounding_box(),
        page.evaluate("document.getElementById('curves').layout.margin"),
    )
    low, high = page.evaluate("document.getElementById('curves').layout.xaxis.range")
    width = box["width"] - margin["l"] - margin["r"]

    def pixel(position):
        return box["x"] + margin["l"] + (position - low) / (high - low) * width

    page.mouse.move(pixel(100), box["y"] + 100)
    page.mouse.down()
    page.mouse.move(pixel(240), box["y"] + 120, steps=3)
    page.mouse.up()
    ends = page.evaluate(
        "['brush-from', 'brush-to'].map((id) => Number(document.getElementById(id).value))"
    )
    assert ends == pytest.approx([100, 240], abs=2)
    wait(page, f"location.hash.includes('from={ends[0]}&to={ends[1]}')")
    mark = page.locator("#brush-mark").bounding_box()
    assert mark["x"] == pytest.approx(pixel(ends[0]), abs=2)
    assert mark["x"] + mark["width"] == pytest.approx(pixel(ends[1]), abs=2)

    page.get_by_label("Stretch from token").press("ArrowRight")
    page.get_by_label("to 2").press("End")
    start = ends[0] + 1
    wait(page, f"location.hash.includes('from={start}&to={LENGTH}')")
    again = opened(page.evaluate("location.hash.slice(1)"), CURVES)
    link = again.locator("#brush-go")
    assert link.text_content() == f"See tokens {start} to {LENGTH} on the map →"
    link.press("Enter")
    wait(again, MAPS, limit=READY)
    settled(again)
    view = again.evaluate("freeatten.page.view")
    assert (view["query"], view["key"], view["span"]) == (start, start, LENGTH - start)
    assert again.evaluate("freeatten.page.head") == "layer 3, head 1"


def test_the_loss_over_position_is_a_curve_whose_stretch_leads_to_the_map(opened, served):
    page = opened(f"entropy&{SETUP}&statistic=loss", CURVES)
    drawn = page.evaluate(
        "document.getElementById('curves').data.map(({ x, y }) => [[...x], [...y]])"
    )
    analyses, _ = served
    for (places, values), name in zip(drawn, MODELS, strict=True):
        row = modified_row(load_checkpoint(name), "")
        asked = analyses.asked(name, {"kind": "given", "name": "", "content": ""}, LENGTH, 0)
        tokens, _ = analyses.texts.tokens(asked.text, row.checkpoint.tokenizer, LENGTH, 0)
        found = losses_by_token(
            row.checkpoint.model.token_losses, tokens, 512, device=torch.device("cpu")
        )
        pairs = [found.loss[at : at + 2].mean() for at in range(0, LENGTH - 1, 2)]
        assert places[:3] == [0.5, 2.5, 4.5]
        np.testing.assert_allclose(values, pairs, rtol=1e-4)
    assert page.locator("#curve-head").input_value() == ""
    assert page.locator("#entropy-command").is_visible()
    assert page.title() == "How well is every token predicted? – freeatten"
    page.get_by_label("Stretch from token").press("End")  # the last eight tokens
    link = page.locator("#brush-go")
    assert link.text_content() == f"See tokens {LENGTH - 8} to {LENGTH} on the map →"
    link.press("Enter")
    wait(page, "freeatten.page?.view.span === 8", limit=READY)


def test_stages_follow_the_sliders(opened, served):
    page = opened(f"stages&{SETUP}&m=1&layer=2&head=0&position=300", STAGES)
    page.locator("#power").fill("3")
    page.locator("#last").fill("100")
    wait(page, "JSON.parse(document.getElementById('stage-charts').dataset.drawn).last === 100")
    drawn = page.evaluate(
        "[...document.getElementById('stage-charts').lastElementChild.lastElementChild.data[0].y]"
    )
    expected = row_stages(captured(served[0], 1), 2, 0, 300, power=3, last=100).weights
    assert torch.allclose(torch.tensor(drawn).double(), expected, rtol=1e-3, atol=1e-7)
    assert "^3" in page.locator("#stage-charts code").last.text_content()
    command = page.locator("#stages-command").text_content()
    assert "--position 300 --power 3 --last 100" in command
    caption, lines = values_of(downloaded(page, "#stages-csv"))
    assert "layer 2, head 0, query 300; 100 visible keys; power 3" in caption
    sharpened = [float(each["value"]) for each in lines if each["stage"] == "sharpen"]
    assert torch.allclose(torch.tensor(sharpened).double(), expected, rtol=1e-3, atol=1e-7)
    assert [int(each["key"]) for each in lines][:100] == list(range(201, 301))
    words = " ".join(texts_of(downloaded(page, "#stages-svg")))
    assert "power 3" in words
    assert all(stage in words for stage in ("score", "positivity", "normalise", "sharpen"))


def test_a_failure_that_asks_ends_with_its_question(opened):
    page = opened("", "document.querySelectorAll('#thumbnails figcaption').length === 2")
    nothing = {"body": "null", "content_type": "application/json"}
    page.route(re.compile("component_server"), lambda route: route.fulfill(**nothing))
    page.locator("#retrieval-tab").click()
    wait(page, "document.getElementById('fault').textContent")
    said = page.locator("#fault").text_content()
    assert said.endswith("the server did not answer; is it still running?")


def test_the_theme_that_was_chosen_holds_after_a_reload(opened):
    drawn = "document.getElementById('chart')?.dataset.drawn === 'wide dark'"
    page = opened("", drawn.replace("dark", "light"), color_scheme="light")
    page.locator("#theme").click()
    wait(page, drawn)
    page.reload()
    wait(page, drawn, limit=READY)


@pytest.mark.parametrize("task", ["copy", "recall"])
def test_downloads_of_retrieval(opened, task):
    page = opened("retrieval", RETRIEVED)
    stored = json.loads((assets() / "results" / "retrieve" / f"{task}.json").read_text())
    commands = page.locator("#retrieval-shown .site-command").all_text_contents()
    assert stored["command"] in commands[["copy", "recall"].index(task)]
    caption, lines = values_of(downloaded(page, f"#{task}-csv"))
    assert stored["command"] in caption
    row, length = stored["variants"][1], stored["lengths"][-1]
    of_row = [
        each
        for each in lines
        if each["variant"] == row["variant"] and each["tokens"] == str(length)
    ]
    measure = "gain" if task == "copy" else "accuracy"
    low, high = row[f"{measure}_ci95"][-1]
    first = of_row[0]
    assert (first["measure"], first["distance_up_to"]) == (measure, "")
    assert [float(first[name]) for name in ("value", "low", "high")] == [
        row[measure][-1],
        low,
        high,
    ]
    if task == "recall":
        found = {each["distance_up_to"]: each for each in of_row[1:]}
        for edge, part in zip(stored["distances"], row["by_distance"][-1], strict=True):
            if not part["queries"]:
                continue
            assert float(found[str(edge)]["value"]) == part["accuracy"]
            assert int(found[str(edge)]["n"]) == part["queries"]
        assert int(first["n"]) == sum(part["queries"] for part in row["by_distance"][-1])
    words = texts_of(downloaded(page, f"#{task}-svg"))
    for part in (stored["command"], "trained up to here"):
        assert part.replace(" ", "") in "".join(words).replace(" ", "")
    if task == "recall":
        assert "≤ 4,096" in words
    assert downloaded(page, f"#{task}-png").startswith(b"\x89PNG")


def test_the_tab_of_use_shows_stored_measures(opened):
    page = opened("use", USED)
    folder = assets() / "results"
    languages = json.loads((folder / "languages" / "suite.json").read_text())
    field = json.loads((folder / "inside" / "field.json").read_text())
    titles = page.locator("#use-shown h2").all_text_contents()
    assert titles[0].startswith("Which rows use 16 times")
    assert sum("8,192 tokens" in title for title in titles) == 1
    shown = page.locator("#use-shown").text_content()
    assert languages["command"] in shown
    assert field["command"] in shown
    _, lines = values_of(downloaded(page, "#languages-csv"))
    cell = languages["variants"][1]["languages"][2]
    found = [
        float(each["accuracy"])
        for each in lines
        if (each["variant"], each["language"])
        == (languages["variants"][1]["variant"], cell["language"])
    ]
    assert found == cell["accuracy_by_length"]
    words = "".join(texts_of(downloaded(page, "#rows-code-svg"))).replace(" ", "")
    assert "softmax+gate+nopositions" in words
    # a part that has no picture shows its numbers at once
    table = page.locator("#ceiling-csv").locator("xpath=../..").locator("table")
    assert table.is_visible()
    assert page.title() == "Is what is far away used? – freeatten"


def test_retrieval_and_about(opened):
    page = opened("retrieval", "document.getElementById('retrieval-shown').children.length")
    wait(page, RETRIEVED)
    assert "Does it copy" in page.locator("#retrieval-shown h2").first.text_content()
    page.locator("#retrieval-shown summary").last.click()
    assert "freeatten retrieve --task recall" in page.locator("#retrieval-shown").text_content()
    assert page.title() == "Who finds again what was read long ago? – freeatten"
    page.locator("#about-tab").click()
    wait(page, CARDS)
    assert page.title() == "How to read this – freeatten"
    page.locator("#cards summary").first.click()
    assert page.locator("#cards table").first.is_visible()
    assert page.locator(".site-card").first.bounding_box()["height"] <= 800  # of the window


NAMED = {
    *("button", "link", "checkbox", "radio", "combobox", "textbox", "searchbox", "slider"),
    *("spinbutton", "application", "image", "DisclosureTriangle"),
}


@pytest.mark.parametrize("tab", ["compare", *CONDITIONS])
def test_whatever_can_be_used_has_a_name(opened, tab):
    shown_first = CONDITIONS.get(tab, "document.getElementById('chart').dataset.drawn")
    page = opened(f"{tab}&{SETUP}" if tab != "compare" else "", shown_first)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    if tab == "map":
        settled(page)
        page.get_by_role("button", name="the text and the strongest sources").click()
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in NAMED
    ]
    assert len(found) > 6
    assert [role for role, name in found if not name] == []


def test_stages_open_on_the_head_that_the_map_shows_and_name_their_axes(opened):
    page = opened(f"map&{SETUP}&head=layer+3%2C+head+2&pin=100", MAPS)
    settled(page)
    page.locator("#stages-tab").press("Enter")
    wait(page, STAGES)
    assert page.locator("#stage-layer").input_value() == "3"
    assert page.locator("#stage-head").input_value() == "2"
    titles = page.evaluate(
        "[...document.querySelectorAll('#stage-charts .js-plotly-plot')]"
        ".map(({ layout }) => layout.yaxis.title.text)"
    )
    assert len(titles) >= 3
    assert all(titles)


def test_parts_of_a_link_that_are_not_there_are_told(opened):
    page = opened(f"map&{SETUP.replace('len=512', 'len=777')}&seed=x", "true")
    told = "document.getElementById('status').textContent.includes(given)"
    wait(page, told, "The link asks for len=777", limit=READY)
    assert "which cannot be had here" in status(page)


def test_a_file_that_is_too_long_is_cut_and_said_to_be(opened):
    page = opened(f"map&{SETUP}", MAPS)
    unfold(page)
    page.locator("#text").select_option("own")
    content = "é" * 2_500_000  # 5 MB
    file = {"name": "long.txt", "mimeType": "text/plain", "buffer": content.encode()}
    page.locator("#file").set_input_files(file)
    wait(page, "document.getElementById('status').textContent.includes('its first 1,000,000')")
    assert page.evaluate("document.getElementById('content').value.length") == 1_000_000


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("tab", list(CONDITIONS))
def test_every_tab_fits_every_page(opened, tab, width, height, scheme):
    options = {"width": width, "height": height, "color_scheme": scheme}
    page = opened(f"{tab}&{SETUP}", CONDITIONS[tab], **options)
    scrolling = width < 600  # the overview of heads is one line there
    layout = LAYOUT.replace(".site-head, ", "") if scrolling else LAYOUT
    assert overlapping(boxes_of(page, layout, width)) == []
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]


def test_the_difference_of_two_maps(opened):
    page = opened(f"map&{SETUP}&head=layer+2%2C+head+0&diff=0-1", MAPS)
    settled(page)
    names = page.locator(".fa-name").all_text_contents()
    assert names == ["softmax", "lssar:p=15", "softmax − lssar:p=15"]
    page.evaluate("freeatten.page.point({ query: 300.5, key: 299.5 })")
    wait(page, "document.querySelectorAll('.fa-weight')[2].dataset.weight")
    assert shown(page, 2) == pytest.approx(shown(page, 0) - shown(page, 1), abs=1e-9)


# One state of the page


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
    wait(page, "document.querySelectorAll('#lines li').length === 4")
    page.locator("#result").select_option("books-16x")
    wait(page, "document.getElementById('provenance').textContent.includes('books')")
    page.go_back()
    wait(page, "document.getElementById('result').value === 'stdlib-16x'")
    wait(page, "!document.getElementById('provenance').textContent.includes('books')")


def test_a_result_never_shows_under_the_name_of_another(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    lines, title, chosen = page.evaluate(
        "(() => { const box = document.getElementById('result'); box.value = 'books-32x';"
        " box.dispatchEvent(new Event('change'));"
        " return [document.querySelectorAll('#lines li').length,"
        " document.getElementById('title').textContent, box.selectedOptions[0].textContent]; })()"
    )
    assert lines == 0
    assert title == chosen
    wait(page, "document.querySelectorAll('#lines li').length > 1")
    assert "16,384" in page.locator("#title").text_content()


# The map and the text


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_the_first_map_is_seen_without_scrolling_and_the_set_up_is_a_line(opened, width, height):
    page = opened(f"map&{SETUP}", f"{MAPS} && {PICTURES}", width=width, height=height)
    settled(page)
    wait(page, "document.getElementById('status').textContent === ''")
    fits = """(() => {
        const { left, top, right, bottom, width } =
            document.querySelector(".fa-canvas").getBoundingClientRect();
        return window.scrollY === 0 && left >= 0 && top >= 0 && width > 300
            && right <= innerWidth && bottom <= innerHeight;
    })()"""
    wait(page, fits)
    line = page.locator("#edit").text_content()
    assert f"softmax vs lssar:p=15 · words.txt · {LENGTH} tokens" in line
    assert not page.locator("#length").is_visible()
    page.locator("#edit").press("Enter")
    assert page.locator("#length").is_visible()
    assert page.get_by_label("Colours").is_visible()
    places = """() => [...document.querySelectorAll(".site-head")].map((one) => {
        const { left, top } = one.getBoundingClientRect();
        return [one.dataset.head, Math.round(left), Math.round(top)];
    })"""
    found = page.evaluate(places)
    if width > 1000:  # a row of the rail is a layer
        rows = {head.split(",")[0]: top for head, _, top in found}
        assert len(set(rows.values())) == 5
        assert all(rows[head.split(",")[0]] == top for head, _, top in found)


def test_on_a_phone_the_open_tab_and_the_opened_text_are_seen(opened):
    page = opened(f"map&{SETUP}&pin=400", MAPS, width=390, height=844)
    page.get_by_role("button", name="the text and the strongest sources").click()
    seen = "innerHeight - document.querySelector('.fa-side').getBoundingClientRect().top > 80"
    wait(page, seen)
    page = opened("about", CARDS, width=390, height=844)
    link, row = page.locator("#about-tab").bounding_box(), page.locator(".site-tabs").bounding_box()
    assert row["x"] - 1 <= link["x"]
    assert link["x"] + link["width"] <= row["x"] + row["width"] + 1


def test_a_word_of_the_text_is_a_column_and_a_query(opened, served):
    page = opened(f"map&{SETUP}&head=layer+1%2C+head+2&pin=400", MAPS)
    page.get_by_role("button", name="the text and the strongest sources").click()
    wait(page, "document.querySelectorAll('.fa-text-legend .fa-note').length === 2")
    words = page.locator("[data-at]").all_text_contents()
    assert "follows" in "".join(words)
    weights = AttentionMap.of(captured(served[0], 0), 1, 2).weights(400, 401, 0, LENGTH)[0]
    expected = (weights / weights[:401].max()).sqrt()
    tint = """[...document.querySelectorAll("[data-at]")].map((one) => {
        const [, alpha] = /50, 140, 220(?:, ([\\d.]+))?\\)/.exec(one.style.background);
        return [Number(one.dataset.at), Number(alpha ?? 1)];
    })"""
    drawn = dict(page.evaluate(tint))
    assert drawn[400] == pytest.approx(float(expected[400]), abs=0.02)
    assert max(abs(drawn[at] - float(expected[at])) for at in drawn if at <= 400) < 0.02
    assert page.locator(".fa-word-query").get_attribute("data-at") == "400"
    page.locator("[data-at='396']").hover()
    assert page.evaluate("freeatten.page.cross") == {"query": 400, "key": 396}
    page.locator("[data-at='396']").click()
    wait(page, "location.hash.includes('pin=396')")
    page.locator(".fa-text-scroller").press("ArrowLeft")
    page.locator(".fa-text-scroller").press("Enter")
    assert page.evaluate("freeatten.page.pin") == 395
    page.get_by_role("searchbox", name="find in the text").fill("word 20 ")
    page.get_by_role("searchbox", name="find in the text").press("Enter")
    key = page.evaluate("freeatten.page.cross.key")
    tokens = page.evaluate("freeatten.page.tokens")
    assert "".join(tokens[key:]).startswith("word 20 ")


def test_thirty_thousand_tokens_of_text_are_a_few_lines_of_the_page(opened):
    page = opened(f"map&{SETUP}", MAPS)
    page.evaluate(
        """() => {
            const tokens = Array.from({ length: 32768 }, (_, at) => ` w${at}`);
            const holder = document.createElement("div");
            holder.className = "freeatten-map";
            window.pane = new freeatten.TextPane(tokens, { point: () => {}, pick: () => {} });
            holder.append(window.pane.root);
            document.body.append(holder);
            window.pane.fit();
            window.pane.reveal(20000);
        }"""
    )
    drawn = page.evaluate("window.pane.lines.querySelectorAll('[data-at]').length")
    assert 50 < drawn < 1500
    assert page.evaluate("Boolean(window.pane.lines.querySelector('[data-at=\"20000\"]'))")


def test_losses_in_the_text_lead_to_the_rows_that_made_them(opened, served):
    page = opened(f"map&{SETUP.replace(f'len={LENGTH}', 'len=1024')}", MAPS)
    page.get_by_role("button", name="the text and the strongest sources").click()
    for kind in ("loss", "delta"):
        page.get_by_label("Tint").select_option(kind)
        heading = "document.querySelectorAll('.fa-side h3')"
        wait(page, f"[...{heading}].filter(one => one.textContent.includes('worst')).length === 2")
        checkpoint = load_checkpoint(MODELS[0])
        tokens = captured(served[0], 0, length=1024).tokens
        found = losses_by_token(
            checkpoint.model.token_losses, tokens, LENGTH, device=torch.device("cpu")
        )
        values = found.loss if kind == "loss" else found.delta
        row = int(values.argmax())
        worst = page.locator(".fa-side button[aria-label*='open the row']").first
        assert worst.get_attribute("aria-label").startswith(f"token {row + 1:,} ")
        worst.click()
        wait(page, "location.hash.includes(given)", f"pin={row}")


def test_heads_are_found_with_a_sentence_each_and_opened(opened):
    page = opened(f"map&{SETUP}", MAPS)
    page.locator("#find-heads").press("Enter")
    wait(page, "document.querySelectorAll('.site-find').length > 10", limit=READY)
    kinds = page.locator("#found > b").all_text_contents()
    assert kinds == ["sink", "previous token", "induction-like"]  # the text ends with training
    first = page.locator(".site-find").first
    name = first.locator("b").text_content().removeprefix("softmax, ")
    assert "of the weight" in first.text_content()
    first.press("Enter")
    wait(page, "freeatten.page.head === given", name)


def test_colours_follow_the_view_a_linear_scale_and_a_threshold(opened):
    state = f"map&{SETUP}&head=layer+1%2C+head+2&q=300&k=100&span=60"
    page = opened(state, MAPS)

    def pixels():
        settled(page)
        return page.evaluate(f"({PIXELS})(freeatten.page.panels[0].tile.image)")

    plain = len(set(pixels()))
    page.get_by_label("Colours").select_option("view-log")
    assert len(set(pixels())) > plain
    assert page.evaluate("2 ** freeatten.page.range.top") < 1
    page.get_by_label("Hide").select_option("0.001")
    hidden = pixels().count(0xFFFFFFFF)
    wait(page, "location.hash.includes('colour=view-log-0.001')")
    page.get_by_label("Colours").select_option("view-linear")
    page.get_by_label("Hide").select_option("0")
    assert pixels().count(0xFFFFFFFF) < hidden
    again = opened(f"{state}&colour=all-linear-0.01", MAPS)
    assert again.get_by_label("Colours").input_value() == "all-linear"
    assert again.get_by_label("Hide").input_value() == "0.01"


def test_a_row_that_is_pointed_at_is_singled_out(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    faint = "document.getElementById('chart').data.map(({ opacity }) => (opacity ?? 1) < 0.5)"
    page.locator("#lines li").nth(1).hover()
    wait(page, f"{faint}.join() === given", ",".join(["true", "false", "true", "true"] * 2))
    page.mouse.move(5, 5)
    wait(page, f"!{faint}.includes(true)")
    page.locator("#lines li").nth(2).press("Enter")
    page.locator("#compare-tab").focus()
    wait(page, f"{faint}.join() === given", ",".join(["true", "true", "false", "true"] * 2))


def test_what_is_shared_is_the_view_with_its_command(opened):
    page = opened(f"map&{SETUP}&q=10&k=5&span=40", MAPS)
    page.locator("#share-open").click()
    assert "span=40" in page.locator("#share-link").input_value()
    command = page.locator("#map-command").text_content()
    assert page.locator("#share-command").input_value() == command
    wait(page, "document.getElementById('share-cite').value")
    assert page.get_by_label("To cite").input_value() == bibtex()
    with page.expect_download() as told:
        page.locator("#share-picture").click()
    assert told.value.suggested_filename == "attention-map.png"
    page.keyboard.press("Escape")
    assert not page.locator("#share").is_visible()


# One's own text


def look_at(page, content):
    unfold(page)
    page.locator("#text").select_option("own")
    page.locator("#content").fill(content)
    page.locator("#look").click()


def upload(page, name, content, *, shows):
    """Gives a file and asks for its analysis, once the page shows a part of its name."""
    unfold(page)
    file = {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    page.locator("#file").set_input_files(file)
    wait(page, f"document.getElementById('file-name').textContent.includes({shows!r})")
    page.locator("#look").click()


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
    other = opened(state, "document.getElementById('status').textContent")
    assert "only the browser has in which it was pasted" in status(other)


def test_two_sessions_apart(opened):
    pages = [opened(f"map&{SETUP}", MAPS) for _ in range(2)]
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


# One's own text in Compare

PROSE = "".join(f"line {number} of it is {number * 7 % 97}.\n" for number in range(150))
SCORED = "location.hash.includes('made=')"
SCORED_LINK = re.compile("result=own&models=.+&made=[0-9a-f]{64}$")


def scored(page, content=PROSE):
    """Scores a text as a visitor does."""
    page.locator("#own-text").click()
    wait(page, "!document.getElementById('own').hidden")
    page.locator("#content").fill(content)
    page.locator("#look").click()
    wait(page, SCORED, limit=READY)


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
    wait(page, "document.querySelectorAll('#lines li').length === 4")
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
    other = opened(state, shown_first)
    assert other.locator("#content").input_value() == ""  # the result alone: no text travels
    analyses, _ = served
    analyses.kept = BoundedCache(analyses.kept.entries, analyses.kept.size)
    late = opened(state, "document.getElementById('status').textContent")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_scored_text_fits_every_page(opened, width, height, scheme):
    options = {"width": width, "height": height, "color_scheme": scheme}
    page = opened("", "document.getElementById('chart').dataset.drawn", **options)
    scored(page)
    assert overlapping(boxes_of(page, LAYOUT, width)) == []


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
