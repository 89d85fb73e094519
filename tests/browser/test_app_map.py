"""The tab Map in a real browser: weights, heads, the view, what is saved of it."""

import threading

import numpy as np
import pytest
from app_page import (
    CONDITIONS,
    PICTURES,
    PIXELS,
    SETUP,
    SIZES,
    STAGES,
    captured,
    downloaded,
    texts_of,
    unfold,
    upload,
    values_of,
)
from pages import LENGTH, MAPS, READY, ask, place, settled, shown, wait, zoom_to

from freeatten_core import attention_weights
from freeatten_core.analysis import AttentionMap, capture, thumbnails
from freeatten_core.results.citation import bibtex


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


def test_the_difference_of_two_maps(opened):
    page = opened(f"map&{SETUP}&head=layer+2%2C+head+0&diff=0-1", MAPS)
    settled(page)
    names = page.locator(".fa-name").all_text_contents()
    assert names == ["softmax", "lssar:p=15", "softmax − lssar:p=15"]
    page.evaluate("freeatten.page.point({ query: 300.5, key: 299.5 })")
    wait(page, "document.querySelectorAll('.fa-weight')[2].dataset.weight")
    assert shown(page, 2) == pytest.approx(shown(page, 0) - shown(page, 1), abs=1e-9)


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
