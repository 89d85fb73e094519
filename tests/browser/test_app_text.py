"""The text beside a map, in a real browser: words are columns and queries, and have losses."""

import pytest
import torch
from app_page import CARDS, MODELS, SETUP, captured
from pages import LENGTH, MAPS, wait

from freeatten_core import load_checkpoint
from freeatten_core.analysis import AttentionMap
from freeatten_core.measures.by_token import losses_by_token


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


COUNTED = """() => {
    const { text } = freeatten.page.drawer;
    const render = text.render.bind(text);
    Object.assign(window, { text, renders: 0 });
    text.render = () => { window.renders += 1; render(); };
}"""
SEEN = """(() => {
    const [box, whole] = [text.scroller, text.lines].map((one) => one.getBoundingClientRect());
    const lines = [...text.lines.children].map((line) => line.getBoundingClientRect());
    const [top, bottom] = [Math.max(box.top, whole.top), Math.min(box.bottom, whole.bottom)];
    return Math.min(...lines.map((line) => line.top)) <= top
        && Math.max(...lines.map((line) => line.bottom)) >= bottom;
})()"""
"""Whether the lines that are seen are drawn."""


def test_a_pinned_row_far_away_draws_the_text_once_at_its_place(opened):
    page = opened(f"map&{SETUP.replace(f'len={LENGTH}', 'len=2048')}", MAPS)
    page.get_by_role("button", name="the text and the strongest sources").click()
    legend = "document.querySelector('.fa-text-legend').textContent"
    wait(page, f"{legend}.includes('at 2,047,')")
    page.evaluate(COUNTED)
    page.evaluate("freeatten.page.pinned(1700)")
    wait(page, f"{legend}.includes('at 1,700,')")
    scrolled = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
    page.evaluate(f"{scrolled}.then(() => {scrolled})")  # what was scrolled is told in a frame
    assert page.evaluate("renders") == 1
    assert page.evaluate(SEEN)
    assert page.locator(".fa-word-query").get_attribute("data-at") == "1700"
    assert page.locator(".fa-word-query").is_visible()


def test_lines_are_there_wherever_the_text_is_scrolled_to(opened):
    page = opened(f"map&{SETUP.replace(f'len={LENGTH}', 'len=2048')}", MAPS)
    page.get_by_role("button", name="the text and the strongest sources").click()
    wait(page, "document.querySelector('.fa-text-legend').textContent")
    page.evaluate(COUNTED)
    page.evaluate("text.scroller.scrollTop = 0")
    wait(page, SEEN)
    for line in (5, 11, 12, 30, 61, 40, 39, 0, 1e6, 1e6 - 3):
        page.evaluate("line => { text.scroller.scrollTop = 23 * line; text.scrolled(); }", line)
        assert page.evaluate(SEEN)
    drawn = page.evaluate("renders")
    page.evaluate("text.scroller.scrollTop -= 3 * 23; text.scrolled()")
    assert page.evaluate("renders") == drawn
    assert page.evaluate(SEEN)


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
        worst.press("Enter")
        wait(page, "location.hash.includes(given)", f"pin={row}")
        # its row is on the maps, close up, where it reads most, and its sources are listed
        view, cross = page.evaluate("[freeatten.page.view, freeatten.page.cross]")
        layer, head = (int(part) for part in page.evaluate("freeatten.page.head.match(/\\d+/g)"))
        found = AttentionMap.of(captured(served[0], 0, length=1024), layer, head)
        weights = found.weights(row, row + 1, 0, 1024)[0]
        assert cross == {"query": row, "key": int(weights.argmax())}
        assert view["span"] <= 48
        assert view["query"] <= row < view["query"] + view["span"]
        assert view["key"] <= cross["key"] < view["key"] + view["span"]
        assert page.locator("button[aria-label*='go there']").first.is_visible()
        listed = "freeatten.page.drawer.lists.every(({ query }) => query === given)"
        wait(page, listed, row)
        assert f"tint={kind}" in page.evaluate("location.hash")
    again = opened(page.evaluate("location.hash.slice(1)"), MAPS)
    assert again.get_by_label("Tint").input_value() == "delta"
    wait(again, f"[...{heading}].filter(one => one.textContent.includes('worst')).length === 2")
    page.go_back()
    page.go_back()
    wait(page, "!location.hash.includes('tint=delta')")
    wait(page, "freeatten.page.drawer.tintChoice.control.value === 'loss'")
