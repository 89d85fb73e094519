"""The other tabs in a real browser, and what all of them promise: names, room, looks."""

import json

import numpy as np
import pytest
import torch
from app_page import (
    CARDS,
    CONDITIONS,
    CURVES,
    LAYOUT,
    MODELS,
    PAPER,
    PAPERS,
    RETRIEVED,
    SETUP,
    SIZES,
    STAGES,
    USED,
    captured,
    downloaded,
    texts_of,
    values_of,
)
from pages import LENGTH, MAPS, READY, boxes_of, overlapping, settled, wait

from freeatten_core import load_checkpoint
from freeatten_core.analysis import by_position, row_stages
from freeatten_core.basics.assets import assets
from freeatten_core.measures.by_token import losses_by_token
from freeatten_core.models.rows import modified_row


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


FAINT = "data.map(({ opacity }) => (opacity ?? 1) < 0.5).join()"
"""Which lines of a chart stand behind another."""


def test_a_line_of_the_curves_is_singled_out(opened):
    page = opened(f"entropy&{SETUP}", CURVES)
    faint = f"document.getElementById('curves').{FAINT}"
    page.locator("#curve-lines li").first.hover()
    wait(page, f"{faint} === 'false,true'")
    page.mouse.move(5, 5)
    wait(page, f"{faint} === 'false,false'")
    page.locator("#curve-lines li").last.press("Enter")
    page.locator("#statistic").select_option("largest")
    wait(page, "document.getElementById('curves').getAttribute('aria-label').includes('largest')")
    wait(page, f"{faint} === 'true,false'")


@pytest.mark.parametrize(("tab", "shown"), [("retrieval", RETRIEVED), ("use", USED)])
def test_a_line_of_what_is_stored_is_singled_out_in_every_panel(opened, tab, shown):
    page = opened(tab, shown)
    legend = page.locator(f"#{tab}-shown .site-legend:has(li)").last
    names = legend.locator("li").all_text_contents()
    legend.locator("li").nth(1).press("Enter")
    chart = f"[...document.querySelectorAll('#{tab}-shown .site-legend:has(li)')].at(-1)"
    chart += ".parentElement.querySelector('.js-plotly-plot')"
    panels = page.evaluate(f"{chart}.data.length") // len(names)
    one = ["false" if at == 1 else "true" for at in range(len(names))]
    wait(page, f"{chart}.{FAINT} === given", ",".join(one * panels))


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
    made = page.locator("#rows-code-svg").locator("xpath=../..").locator(".site-command code")
    assert f"Made by {made.text_content()}".replace(" ", "") in words
    caption, _ = values_of(downloaded(page, "#rows-code-csv"))
    assert f"# Made by {made.text_content()}\n" in caption
    # a part that has no picture shows its numbers at once
    table = page.locator("#longppl-code-csv").locator("xpath=../..").locator("table")
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


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("tab", list(CONDITIONS))
def test_every_tab_fits_every_page(opened, tab, width, height):
    page = opened(f"{tab}&{SETUP}", CONDITIONS[tab], width=width, height=height)
    scrolling = width < 600  # the overview of heads is one line there
    layout = LAYOUT.replace(".site-head, ", "") if scrolling else LAYOUT
    for scheme, paper in PAPERS.items():
        page.emulate_media(color_scheme=scheme)
        wait(page, f"{PAPER} === given", paper)
        assert overlapping(boxes_of(page, layout, width)) == []
