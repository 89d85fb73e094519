"""Models of others in the app, in a real browser: what they take, which layers are read."""

import causal
import pytest
from freeatten_app.server.cache import BoundedCache
from freeatten_app.server.models import Models
from pages import LENGTH, MAPS, READY, ask, wait

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
"""What a proxy says of a visitor."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    changes = {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "max_position_embeddings": 1024,
    }
    made = causal.network("gemma3", **changes)
    return causal.save(tmp_path_factory.mktemp("others") / "gemma", made)


def state(models, more=""):
    return f"map&models={models}&text=given&len={LENGTH}&seed=0{more}"


def test_what_a_model_takes_is_told_and_its_layers_are_offered_before_it_is_read(
    opened, served, folder, monkeypatch
):
    analyses, _ = served
    analyses.kept = BoundedCache(analyses.kept.entries, analyses.kept.size)
    read = []
    get = Models.get
    monkeypatch.setattr(Models, "get", lambda *given: read.append(given[1]) or get(*given))
    page = opened(state("softmax"), MAPS)
    page.locator("#edit").press("Enter")
    assert not page.locator("#layers").is_visible()
    page.get_by_label("Also").fill(str(folder))
    page.keyboard.press("Tab")
    wait(page, "document.getElementById('foreseen').textContent", limit=READY)
    told = page.locator("#foreseen").text_content()
    assert told.startswith(f"{folder}: ")
    assert "4 layers, 2 of them with a window, declared for 1,024 tokens" in told
    assert f"Looking into layer 2 over {LENGTH} tokens takes about " in told
    assert "GB of memory" in told
    assert set(read) == {"softmax"}
    offered = page.locator("#layers").locator("option").all_text_contents()
    assert offered == [
        "layer 2, unless chosen",
        *("layer 0, window 8", "layer 1", "layer 2, window 8", "layer 3"),
        "all 4 layers",
    ]
    page.locator("#layers").select_option("all")
    wait(page, "document.getElementById('foreseen').textContent.includes('into all 4 layers')")
    page.get_by_label("softmax", exact=True).uncheck()
    page.locator("#look").click()
    wait(page, "document.querySelectorAll('.site-head').length === 16", limit=READY)
    wait(page, "location.hash.includes('layers=all')")


def test_the_rail_shows_windows_and_heads_that_share_keys_and_reads_another_layer(opened, folder):
    page = opened(state(folder), MAPS)
    rows = page.locator(".site-layer")
    assert [
        text.split(" · ")[:3]
        for text in rows.evaluate_all(
            "all => all.map(SAID)".replace(
                "SAID", "(one) => one.getAttribute('aria-label') ?? one.textContent"
            )
        )
    ] == [
        ["layer 0", "4 heads, 2 keys", "window 8"],
        ["layer 1", "4 heads, 2 keys"],
        ["layer 2", "4 heads, 2 keys", "window 8"],
        ["layer 3", "4 heads, 2 keys"],
    ]
    groups = page.locator(".site-group").evaluate_all(
        "all => all.map((one) => [...one.children].map((head) => head.dataset.short))"
    )
    assert groups == [["2.0", "2.1"], ["2.2", "2.3"]]
    page.get_by_role("button", name="layer 3 · 4 heads, 2 keys").press("Enter")
    wait(page, "location.hash.includes('layers=3')", limit=READY)
    wait(page, "freeatten.page.head.startsWith('layer 3, ')", limit=READY)
    wait(page, "document.getElementById('map-command').textContent.includes('--layer 3 ')")
    wait(page, "document.querySelector('.site-group .site-head')?.dataset.short === '3.0'")
    again = opened(page.evaluate("location.hash.slice(1)"), MAPS)
    assert again.evaluate("freeatten.page.head").startswith("layer 3, ")
    page.go_back()
    wait(page, "freeatten.page.head.startsWith('layer 2, ')", limit=READY)


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(opened, folder, monkeypatch):
    from importlib import import_module

    module = import_module("freeatten_core.analysis.forecast")
    monkeypatch.setattr(module, "available_bytes", lambda _: 20_000_000)
    told = "document.getElementById('status').textContent"
    page = opened(state(folder), f"{told}.includes('GB are free')")
    assert page.evaluate(told) == (
        f"{folder}: Looking into layer 2 over {LENGTH} tokens needs 0.1 GB of memory, weights "
        "included, and 0.0 GB are free"
    )
    assert page.locator("#map-shown").is_hidden()


def test_a_visitor_from_elsewhere_cannot_name_a_model(opened, folder):
    told = "document.getElementById('status').textContent"
    page = opened(state(folder), f"{told}.includes('is not open')", extra_http_headers=ELSEWHERE)
    assert page.evaluate(told).startswith(f"checkpoint '{folder}'"[:60])
    assert ask(page, "document.querySelectorAll('.site-head').length") == 0
    page.get_by_label("Also").fill("someone/model")
    page.keyboard.press("Tab")
    wait(page, "document.getElementById('foreseen').textContent.includes('is not open')")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_the_first_map_is_seen_without_scrolling_beside_a_rail_of_many_layers(
    opened, folder, width, height
):
    for more in ("", "&layers=all"):
        page = opened(state(folder, more), MAPS, width=width, height=height)
        wait(
            page,
            """(() => {
            const { left, top, right, bottom } =
                document.querySelector(".fa-canvas").getBoundingClientRect();
            return window.scrollY === 0 && left >= 0 && right <= innerWidth
                && top >= 0 && bottom <= innerHeight && right - left > 300;
        })()""",
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            """(() => {
            const rail = document.getElementById("heads").getBoundingClientRect();
            const one = document.querySelector(".site-head[aria-pressed='true']");
            const { left, right } = one.getBoundingClientRect();
            return left >= rail.left && right <= rail.right + 1;
        })()"""
        )
