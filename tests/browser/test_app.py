"""The served app in a real browser: every tab, numbers, links, cancel, hostile text, sessions."""

import socket

import pytest
import torch
from freeatten_app.analyses import Analyses
from freeatten_app.cache import BoundedCache
from freeatten_app.models import Models
from freeatten_app.serve import launch
from freeatten_app.texts import Texts
from pages import boxes_of, overlapping, place, settled, shown, wait

from freeatten_core import attention_weights, load_checkpoint
from freeatten_core.analysis import by_position, capture, row_stages

LENGTH = 512
MODELS = ("softmax", "lssar-p15")
SETUP = f"models={','.join(MODELS)}&text=given&len={LENGTH}&seed=0"
READY = 40
"""Seconds for a first analysis on a busy machine."""
SIZES = [(1280, 800), (390, 844)]
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
    ".site-sliders label, .site-command, .site-name, .site-loss, .site-verdict, footer"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for a busy core cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The analyses of a server, and its address."""
    text = tmp_path_factory.mktemp("text") / "words.txt"
    text.write_text("".join(f"word {number} follows {number - 1}.\n" for number in range(300)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    analyses = Analyses(Models((), local=True), Texts(str(text)), "cpu")
    app = launch(analyses, "127.0.0.1", port, None)
    yield analyses, f"http://127.0.0.1:{port}/"
    app.close(verbose=False)
    analyses.close()


@pytest.fixture
def opened(served, visit):
    """Opens the app and waits until a condition holds."""
    _, address = served
    visit.homes.append(address)

    def opened(state, condition, **options):
        page = visit(address, state, ready="true", **options)
        wait(page, f"window.freeattenApp?.ready && ({condition})", limit=READY)
        return page

    return opened


MAPS = "document.getElementById('map-command').textContent.includes('freeatten map')"
CURVES = "document.querySelector('#curves .scatterlayer .trace')"
STAGES = "document.getElementById('stage-charts').dataset.drawn"
CONDITIONS = {"map": MAPS, "entropy": CURVES, "stages": STAGES}


def captured(analyses, index):
    """The library's own pass over the text that the page shows."""
    checkpoint = load_checkpoint(MODELS[index])
    asked = analyses.asked("x", {"kind": "given", "name": "", "content": ""}, LENGTH, 0)
    tokens, _ = analyses.texts.tokens(asked.text, checkpoint.tokenizer, LENGTH, 0)
    return capture(checkpoint, tokens)


def status(page):
    return page.locator("#status").text_content()


# Tabs


def test_compare_opens_with_a_result(opened):
    page = opened("", "document.getElementById('chart').dataset.drawn === 'wide light'")
    assert "which attention breaks?" in page.title()
    assert page.locator("#lines li").count() == 4
    page.locator("#all").click()
    wait(page, "document.querySelectorAll('#lines li').length === 8")
    assert "all=1" in page.evaluate("location.hash")
    with page.expect_download() as told:
        page.locator("#compare-csv").click()
    lines = told.value.path().read_text().splitlines()
    assert len(lines) == 1 + 2 * 8
    assert lines[0].startswith("measure,variant,512 tokens")
    with page.expect_download() as told:
        page.locator("#compare-png").click()
    assert told.value.path().read_bytes().startswith(b"\x89PNG")


def test_zoom_to_one_token_and_read_its_weight(opened, served):
    page = opened(f"map&{SETUP}", MAPS)
    layer, head = (int(part) for part in page.evaluate("freeatten.page.head.match(/\\d+/g)"))
    query, key = 400, 397
    page.locator(".fa-canvas").first.scroll_into_view_if_needed()
    for span in (60, 5):
        page.mouse.move(*place(page, query, key))
        for _ in range(4):
            page.mouse.wheel(0, -700)
        wait(page, "freeatten.page.view.span <= given", span)
    settled(page)
    page.mouse.move(*place(page, query, key))
    wait(page, "[...document.querySelectorAll('.fa-weight')].every((one) => one.dataset.weight)")
    for index in range(2):
        found = captured(served[0], index)
        vectors = (each[None, None] for each in found.head(layer, head))
        expected = attention_weights(*vectors, found.variant)[0, 0, query, key].item()
        assert shown(page, index) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    sources = page.locator(".fa-sources").first.locator("button")
    wait(page, "document.querySelectorAll('.fa-source').length > 2")
    assert "go there" in sources.first.get_attribute("aria-label")


def test_heads_are_sorted_and_chosen(opened):
    page = opened(f"map&{SETUP}", MAPS)
    assert page.locator(".site-head").count() == 15
    page.locator("#sort").select_option("largest")
    numbers = page.locator(".site-head .site-head-value:nth-child(2)").all_text_contents()
    values = [float(text.removeprefix("softmax")) for text in numbers]
    assert values == sorted(values, reverse=True)
    page.locator(".site-head").last.click()
    chosen = page.locator(".site-head").last.get_attribute("data-head")
    wait(page, "freeatten.page.head === given", chosen)
    settled(page)
    assert "sort=largest" in page.evaluate("location.hash")
    assert page.locator(".site-head[aria-pressed=true]").get_attribute("data-head") == chosen


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


def test_downloads_of_the_map(opened):
    page = opened(f"map&{SETUP}&q=10&k=5&span=40", MAPS)
    with page.expect_download() as told:
        page.locator("#save-csv").click()
    lines = told.value.path().read_text().splitlines()
    assert lines[0] == "query,key,cell,weight"
    assert all(10 <= int(line.split(",")[0]) < 51 for line in lines[1:])
    with page.expect_download() as told:
        page.locator("#save-page").click()
    text = told.value.path().read_text()
    assert "freeatten map --checkpoint softmax --checkpoint lssar-p15" in text
    command = page.locator("#map-command").text_content()
    assert "--query 10:50 --key 5:45 --len 512" in command


def test_entropy_draws_every_model(opened, served):
    page = opened(f"entropy&{SETUP}&statistic=largest", CURVES)
    wait(page, "document.querySelectorAll('#curves .scatterlayer .trace').length === 2")
    page.locator("#curve-head").select_option("layer 2, head 1")
    drawn = page.evaluate("[...document.getElementById('curves').data[1].y]")
    expected = by_position(captured(served[0], 1), "largest", 2, 256)[1][1]
    assert torch.allclose(torch.tensor(drawn), expected, rtol=1e-3)
    assert "of=layer" in page.evaluate("location.hash")
    with page.expect_download() as told:
        page.locator("#curves-csv").click()
    assert len(told.value.path().read_text().splitlines()) == 1 + 2 * 15 * 256


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


def test_retrieval_and_about(opened):
    page = opened("retrieval", "document.getElementById('retrieval-shown').children.length")
    assert "freeatten retrieve" in page.locator("#retrieval-shown").text_content()
    page.locator("#about-tab").click()
    wait(page, "document.getElementById('cards').children.length === 7")
    page.locator("#cards summary").first.click()
    assert page.locator("#cards table").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("tab", ["map", "entropy", "stages"])
def test_every_tab_fits_every_page(opened, tab, width, height, scheme):
    options = {"width": width, "height": height, "color_scheme": scheme}
    page = opened(f"{tab}&{SETUP}", CONDITIONS[tab], **options)
    scrolling = width < 600  # the overview of heads is one line there
    layout = LAYOUT.replace(".site-head, ", "") if scrolling else LAYOUT
    assert overlapping(boxes_of(page, layout, width)) == []
    paper = page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]


def test_the_difference_of_two_maps(opened):
    page = opened(f"map&{SETUP}&head=layer+2%2C+head+0&diff=0-1", MAPS)
    settled(page)
    names = page.locator(".fa-name").all_text_contents()
    assert names == ["softmax", "lssar:p=15", "softmax against lssar:p=15"]
    page.evaluate("freeatten.page.point({ query: 300.5, key: 299.5 })")
    wait(page, "document.querySelectorAll('.fa-weight')[2].dataset.weight")
    assert shown(page, 2) == pytest.approx(shown(page, 0) - shown(page, 1), abs=1e-9)


# One's own text


def look_at(page, content):
    page.locator("#text").select_option("own")
    page.locator("#content").fill(content)
    page.locator("#look").click()


def test_hostile_text_is_only_text(opened):
    page = opened(f"map&{SETUP}", MAPS)
    page.locator("#text").select_option("own")
    name = "<img src=x onerror='window.hacked = 1'>.txt"
    content = (HOSTILE * 12).replace("\x00", "")
    file = {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    page.locator("#file").set_input_files(file)
    wait(page, "document.getElementById('file-name').textContent.includes('onerror')")
    page.locator("#look").click()
    wait(page, "document.getElementById('map-about').textContent.includes('onerror')", limit=READY)
    settled(page)
    page.evaluate("freeatten.page.look({ query: 0, key: 0, span: 12 })")
    settled(page)
    page.mouse.move(*place(page, 5, 2))
    for tab in ("entropy", "stages", "map"):
        page.locator(f"#{tab}-tab").click()
        wait(page, CONDITIONS[tab])
    page.locator("#content").fill(HOSTILE * 12)
    page.locator("#look").click()
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


def test_an_analysis_can_be_cancelled(opened, monkeypatch):
    page = opened(f"map&{SETUP}", MAPS)

    def endless(*_, advance, **__):
        while True:
            advance(1, 4)

    monkeypatch.setattr("freeatten_core.analysis.capture", endless)
    look_at(page, "one that takes for ever " * 20)
    wait(page, "document.getElementById('progress').value === 0.125")
    page.locator("#cancel").click()
    wait(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert page.locator("#look").is_enabled()
    assert page.locator(".fa-canvas").count() == 2  # what was there stays
