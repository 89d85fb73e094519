"""What the tests of the served app share: its set-up, what they wait for, what they read of it."""

import csv
from xml.etree import ElementTree

from pages import LENGTH, MAPS, READY, wait

from freeatten_core import load_checkpoint
from freeatten_core.analysis import capture
from freeatten_core.basics.assets import assets
from freeatten_core.models.rows import modified_row
from freeatten_core.results.stored import stored_retrievals

MODELS = ("softmax", "lssar-p15")
SETUP = f"models={','.join(MODELS)}&text=given&len={LENGTH}&seed=0"
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
OF_TASKS = [
    len(result["variants"])
    for task, result in stored_retrievals(assets() / "results").items()
    if task != "copy"
]
"""Rows of every stored task, each with a grid of its own."""
assert len(OF_TASKS) == 5, "recall, mqar, forgetting, passkey and flip-flop are stored"
RETRIEVED = (
    f"document.querySelectorAll('#retrieval-shown .scatterlayer').length >= {1 + len(OF_TASKS)}"
    " && document.querySelectorAll('#retrieval-shown .heatmaplayer .hm').length"
    f" === {sum(OF_TASKS)}"
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
PAPER = "getComputedStyle(document.documentElement).backgroundColor"
PAPERS = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}
"""The page's colour by the scheme that the reader's system has."""
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


PROSE = "".join(f"line {number} of it is {number * 7 % 97}.\n" for number in range(150))
SCORED = "location.hash.includes('made=')"


def scored(page, content=PROSE):
    """Scores a text as a visitor does."""
    page.locator("#own-text").click()
    wait(page, "!document.getElementById('own').hidden")
    page.locator("#content").fill(content)
    page.locator("#look").click()
    wait(page, SCORED, limit=READY)
