"""The served app says what things are: names, links that cannot be followed, commands, charts."""

import threading

import pytest
from freeatten_app.server.answers import GoneError
from freeatten_app.tabs import about, compare
from pages import MAPS, READY, settled, wait

from freeatten_core.analysis import STATISTICS
from freeatten_core.results.stored import stored_comparisons

DRAWN = "document.getElementById('chart').dataset.drawn"
SETUP = "models=softmax,lssar-p15&text=given&len=512&seed=0"
SHOWN = {
    "map": MAPS,
    "stages": "document.getElementById('stage-charts').dataset.drawn",
    "entropy": "document.querySelector('#curves .trace')",
}
UNMET = "document.getElementById('unmet').textContent"
STATUS = "document.getElementById('status').textContent"


def test_a_variant_has_its_name_and_its_code_name_side_by_side_once(opened):
    page = opened("compare&all=1", DRAWN)
    rows = page.locator("#lines li")
    stored = stored_comparisons()["stdlib-16x"]["variants"]
    assert rows.count() == len(stored)
    lines = compare.comparison("stdlib-16x")["all"]["lines"]
    for row, entry, line in zip(rows.all(), stored, lines, strict=True):
        said = row.locator(".site-name").text_content()
        names = [line["label"], entry["variant"]]
        assert said == " ".join(dict.fromkeys(names))
    page.locator("#about-tab").press("Enter")
    wait(page, "document.querySelectorAll('#variants tbody tr').length", limit=READY)
    table = {
        cells[0]: cells[1]
        for cells in page.locator("#variants tbody tr").evaluate_all(
            "rows => rows.map((row) => [...row.children].map((one) => one.textContent))"
        )
    }
    assert table["lssar:p=15"] == "Softplus + re-weighting (LSSAR p=15)"
    assert table == {row[0]: row[1] for row in about.about()["variants"]}


@pytest.mark.parametrize(
    ("state", "parts"),
    [
        ("compare&result=none", ["result=none"]),
        ("compare&result=%3Cb%3E&step=700", ["result=<b>", "step=700"]),
        ("compare&result=systems%2Fcode&rows=none,softmax", ["rows=none"]),
        ("nonsense", ["tab=nonsense"]),
        ("%3Cb%3E%&result=none", ["tab=<b>%", "result=none"]),
    ],
)
def test_a_link_to_a_tab_or_a_result_that_is_not_here_says_so(opened, state, parts):
    page = opened(state, DRAWN)
    wait(page, f"{UNMET}.includes(given)", ", ".join(parts))
    shown = page.locator("#result option:checked").text_content()
    told = f"The link asks for {', '.join(parts)}, which is not here; shown is {shown}."
    assert page.locator("#unmet").text_content() == told
    assert page.locator("#unmet").is_visible()
    page.locator("#result").select_option("books-16x")
    wait(page, "document.getElementById('unmet').hidden")


@pytest.mark.parametrize(
    "state", ["", "compare", "compare&result=systems%2Fcode&rows=softmax&step=1024"]
)
def test_a_link_that_can_be_followed_says_nothing(opened, state):
    page = opened(state, DRAWN)
    assert page.locator("#unmet").is_hidden()


@pytest.mark.parametrize(
    ("state", "told", "shown"),
    [
        (f"map&{SETUP}&head=layer+9%2C+head+9", "head=layer 9, head 9", MAPS),
        (f"entropy&{SETUP}&statistic=no&of=layer+9", "statistic=no, of=layer 9", "true"),
        (f"stages&{SETUP}&layer=77", "layer=77", "true"),
        (f"stages&{SETUP}&position=9999&p=3", "position=9999", "true"),
        (f"entropy&{SETUP}&from=9000&to=x", "from=9000, to=x", "true"),
        (f"map&{SETUP}&q=9000&k=3&span=40", "q=9000", MAPS),
        (
            f"map&{SETUP}&pin=9999&diff=7-9&colour=red&sort=no",
            "pin=9999, diff=7-9, colour=red, sort=no",
            MAPS,
        ),
    ],
)
def test_places_of_a_link_that_are_not_there_are_told(opened, state, told, shown):
    page = opened(state, f"{STATUS}.includes('The link asks for') && {shown}")
    said = page.locator("#status").text_content()
    assert said.startswith(f"The link asks for {told}, which cannot be had here")


@pytest.mark.parametrize(
    "place",
    [
        "map&q=0&k=0&span=512",
        "map&q=10.13&k=5&span=40&pin=30&diff=0-1-ratio&colour=view-log-0.001",
        "map&head=layer+1%2C+head+2&tint=row&sort=largest&of=1&lowest=1",
        "stages&m=1&layer=3&head=2&position=300&p=3&last=100",
        "entropy&statistic=largest&of=layer+2%2C+head+1&from=100&to=240",
    ],
)
def test_places_of_a_link_that_are_there_are_not_spoken_of(opened, place):
    tab, _, parts = place.partition("&")
    page = opened(f"{tab}&{SETUP}&{parts}", SHOWN[tab])
    wait(page, f"{STATUS} === ''")
    hash = page.evaluate("location.hash")
    if "span=512" not in parts:
        assert all(part in hash for part in parts.split("&"))


def test_the_first_chart_is_there_before_the_chart_library(opened, monkeypatch):
    asked, end = threading.Event(), threading.Event()

    def held():
        from plotly.offline import offline

        asked.set()
        end.wait(30)
        return offline.get_plotlyjs()

    monkeypatch.setattr("plotly.offline.get_plotlyjs", held)
    try:
        page = opened("", "document.getElementById('chart').dataset.seen === 'wide light'")
        assert page.evaluate("window.Plotly === undefined")
        stored = stored_comparisons()["stdlib-16x"]["variants"]
        chart = compare.comparison("stdlib-16x")["main"]["figures"]
        lines = page.locator("#chart polyline").evaluate_all(
            "all => all.map((one) => [...one.points].map(({ x, y }) => [x, y]))"
        )
        assert (len(lines), len(chart["data"])) == (10, 15)  # S and W are points without a line
        losses = {row["variant"]: row["loss"] for row in stored}
        points, values = lines[0], losses["softmax"]
        scale = (points[-1][1] - points[0][1]) / (values[-1] - values[0])
        assert scale < 0  # a higher loss is higher up
        for line, row in zip(
            lines[:5], compare.comparison("stdlib-16x")["main"]["lines"], strict=True
        ):
            wanted = [points[0][1] + scale * (each - values[0]) for each in losses[row["id"]]]
            assert [y for _, y in line] == pytest.approx(wanted, abs=0.1)
        words = "".join(page.locator("#chart text").all_text_contents())
        last = f"{losses['softmax'][-1]:.2f}"
        for said in ("mean loss (nats per token)", "8,192", "trained up to here", last):
            assert said in words
        assert page.locator("#lines li").count() == 5
    finally:
        end.set()
    assert asked.is_set()
    wait(page, DRAWN, limit=READY)
    assert page.locator("#chart > svg").count() == 0
    assert page.evaluate("document.getElementById('chart').data.length") == 15


def test_the_loss_over_the_position_has_its_command(opened):
    page = opened(f"entropy&{SETUP}&statistic=loss", "document.querySelector('#curves .trace')")
    commands = page.locator("#entropy-command").text_content().splitlines()
    assert page.locator("#entropy-command").is_visible()
    assert len(commands) == 2
    assert all("freeatten entropy" in each and "--statistic loss" in each for each in commands)


def test_the_page_says_whose_it_is(opened):
    page = opened("", DRAWN)
    said = page.locator("footer").text_content()
    for part in ("freeatten", "arXiv 2501.13428", "a repository of the same name"):
        assert part in said


def test_what_is_chosen_is_explained(opened):
    page = opened(f"map&{SETUP}", MAPS)
    page.locator("#edit").press("Enter")
    named = "one => one.closest('label').title"
    assert "another text of the source" in page.get_by_label("Draw number").evaluate(named)
    assert "models by name" in page.get_by_label("Also, by name").evaluate(named)
    page.locator("#compare-tab").press("Enter")
    wait(page, DRAWN, limit=READY)
    results = page.locator("#result option").all_text_contents()
    assert "Novels kept from training (books-heldout), to 16×" in results
    meaning = STATISTICS["zeros"].meaning
    assert "offset O" in meaning
    assert "their number N" in meaning


def test_what_a_row_is_made_of_is_said(opened):
    drawn = "document.getElementById('stage-charts').dataset.drawn"
    page = opened(f"stages&{SETUP}&m=1&layer=2&head=0&position=300", drawn)
    note = page.locator("#stage-note").text_content()
    assert "N·a is a key's share of the row times N: 1 in an even spread." in note
    assert "Sharpening takes the offset O = " in note
    page.locator("#stage-model").select_option("0")
    wait(page, "document.getElementById('stage-note').textContent.startsWith('softmax:')")
    assert "offset" not in page.locator("#stage-note").text_content()


def test_what_others_push_out_of_a_busy_server_again_is_made_anew_again(
    opened, served, monkeypatch
):
    page = opened(f"map&{SETUP}", MAPS)
    settled(page)
    analyses, _ = served
    find, gone = analyses.map, []

    def pushed_out(*place, **options):
        if len(gone) < 4:  # twice for each of two maps
            gone.append(place)
            raise GoneError
        return find(*place, **options)

    monkeypatch.setattr(analyses, "map", pushed_out)
    page.evaluate("freeatten.page.look({ query: 300, key: 290, span: 20 })")
    settled(page)
    assert len(gone) == 4
    assert page.locator(".fa-failed").count() == 0
    assert page.evaluate("freeatten.page.panels.map(({ tile }) => tile.cell)") == [1, 1]
