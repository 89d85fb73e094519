"""The tab Compare in a real browser: stored results, their rows, words, pictures and story."""

import pytest
from app_page import LAYOUT, PIXELS, downloaded, texts_of, values_of
from freeatten_app.server.texts import TextSource
from freeatten_app.tabs.evidence import story
from pages import MAPS, READY, boxes_of, overlapping, wait

from freeatten_core.results import stored as stored_module
from freeatten_core.results.stored import stored_comparisons


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
    assert page.locator("#lines li").count() == 5
    page.locator("#all").click()
    wait(page, "document.querySelectorAll('#lines li').length === 9")
    assert "all=1" in page.evaluate("location.hash")
    stored = stored_comparisons()["stdlib-16x"]
    caption, lines = values_of(downloaded(page, "#compare-csv"))
    assert stored["command"] in caption
    of_softmax = [each for each in lines if each["variant"] == "softmax"]
    assert len([each for each in lines if each["measure"] == "loss"]) == 5 * 9
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
    panels = 2 if name.startswith("cube/") else 3  # loss, Δ, and Δ beside S and W
    assert page.evaluate("document.getElementById('chart').data.length") == panels * first
    assert page.locator("#all").is_hidden()
    assert overlapping(boxes_of(page, LAYOUT, width)) == []
    page.locator("#picks summary").click()
    assert page.locator("#picks label").count() == len(stored)
    assert overlapping(boxes_of(page, LAYOUT, width)) == []
    page.locator(f"#picks input[value='{ticked}']").check()
    page.locator("#picks input[value='lssa']").uncheck()
    page.locator("#picks input[value='softmax']").uncheck()
    wait(page, "document.getElementById('chart').data.length === given", panels * (first - 1))
    assert f"{first - 1} of {len(stored)}" in page.locator("#picks summary").text_content()
    tables = page.locator("#tables table")
    assert [tables.nth(at).locator("tbody tr").count() for at in (0, 1)] == [len(stored)] * 2

    again = opened(page.evaluate("location.hash.slice(1)"), drawn, **options)
    losses = again.evaluate("document.getElementById('chart').data.map(({ y }) => y)")
    assert stored[ticked]["loss"] in losses
    assert stored["softmax"]["loss"] not in losses
    assert len(losses) == panels * (first - 1)
    again.locator("#result").select_option("stdlib-16x")
    wait(again, "!document.getElementById('all').parentElement.hidden")
    assert again.locator("#picks").is_hidden()
    assert again.locator("#lines li").count() == 5


def test_a_picture_names_every_line_once_and_says_how_it_was_made(opened):
    page = opened("compare&result=systems/code", "document.getElementById('chart').dataset.drawn")
    page.locator("#picks summary").click()
    for box in page.locator("#picks input").all():
        box.check()
    wait(page, "document.getElementById('chart').data.length === 3 * 23")
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
    assert link.startswith("#map&models=stick-breaking-outputgated&text=writing&len=8192")
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


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_from_the_story_the_comparison_is_one_key_away(opened, width, height):
    layout = "document.getElementById('chart').dataset.drawn"
    page = opened("", layout, width=width, height=height)
    page.locator("#story-on").press("Enter")
    top = "document.getElementById('title').getBoundingClientRect().top"
    wait(page, f"{top} >= 0 && {top} < innerHeight / 4")
    assert page.evaluate("document.activeElement.id") == "title"
    assert "which attention breaks?" in page.locator("#title").text_content()


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


COUNTED = """() => {
    const [chart, { react }, { fetch }] = [document.getElementById("chart"), Plotly, window];
    let hidden;
    const isHidden = new Promise((done) => { hidden = done; });
    window.fetch = (...given) => isHidden.then(() => fetch(...given));
    Plotly.react = (...given) => {
        window.drawings.push(chart.clientWidth);
        return react(...given);
    };
    Object.assign(window, { drawings: [], widths: [] });
    new ResizeObserver(() => { // is told after the page's own
        window.widths.push(chart.clientWidth);
        if (!chart.clientWidth) hidden();
    }).observe(chart);
}"""
"""Counts the drawings of the chart and the widths that it is told; a result waits to be hidden."""


def test_another_result_is_drawn_once_and_anew_at_another_width_or_theme(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn === 'wide light'")
    page.evaluate(COUNTED)
    wait(page, "widths.length === 1")
    width = page.evaluate("widths[0]")
    page.locator("#result").select_option("books-16x")
    wait(page, "widths.length === 3")
    assert page.evaluate("[widths, drawings]") == [[width, 0, width], [width]]
    page.locator("#about-tab").click()
    wait(page, "widths.length === 4")
    page.locator("#theme").click()
    page.locator("#compare-tab").click()
    wait(page, "document.getElementById('chart').dataset.drawn === 'wide dark'")
    wait(page, "widths.length === 5")
    page.set_viewport_size({"width": 1200, "height": 800})
    wait(page, "widths.length === 6")
    assert page.evaluate("drawings.at(-1) === widths.at(-1)")
    assert page.evaluate("widths.at(-1)") < width


def test_a_row_that_is_pointed_at_is_singled_out(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn")
    faint = "document.getElementById('chart').data.map(({ opacity }) => (opacity ?? 1) < 0.5)"
    page.locator("#lines li").nth(1).hover()
    wait(page, f"{faint}.join() === given", ",".join(["true", "false", "true", "true", "true"] * 3))
    page.mouse.move(5, 5)
    wait(page, f"!{faint}.includes(true)")
    page.locator("#lines li").nth(2).press("Enter")
    page.locator("#compare-tab").focus()
    wait(page, f"{faint}.join() === given", ",".join(["true", "true", "false", "true", "true"] * 3))


def test_the_theme_that_was_chosen_holds_after_a_reload(opened):
    drawn = "document.getElementById('chart')?.dataset.drawn === 'wide dark'"
    page = opened("", drawn.replace("dark", "light"), color_scheme="light")
    page.locator("#theme").click()
    wait(page, drawn)
    page.reload()
    wait(page, drawn, limit=READY)
