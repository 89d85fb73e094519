"""The map's page in a real browser, opened from disk: numbers, gestures, links, looks, text."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import POINTED, ask, boxes_of, overlapping, place, settled, shown, wait
from torch import Tensor

from freeatten_core import attention_weights
from freeatten_core.analysis.map.attention_map import AttentionMap
from freeatten_core.mapview import HeadMap, write_page
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.ops.definitions import staged

LENGTH, DIM, TRAINED = 600, 16, 200
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!--<script>",
    "<b onmouseover='window.hacked = 1'>",
    "\x00\x1b\r\n\t\x7f",
    "\u2028\u2029\ufeff\u200b",
    "\u202egnikcart\u2066",
    "\ud800",
    "👩‍💻",
    "مرحبا",
    " a ",
    "",
]


@dataclass(frozen=True)
class Head:
    """float16 vectors, so that the page has them exactly."""

    query: Tensor
    key: Tensor

    @classmethod
    def random(cls, length: int = LENGTH, queries: int | None = None, seed: int = 0) -> "Head":
        draw = torch.Generator().manual_seed(seed)
        query = torch.randn(queries or length, DIM, generator=draw)
        key = torch.randn(length, DIM, generator=draw)
        key = key + 2 * torch.randn(1, DIM, generator=draw) * (torch.arange(length) == 3)[:, None]
        return cls(query.half().float(), key.half().float())

    def map(self, variant: str, **options) -> AttentionMap:
        return AttentionMap.build(self.query, self.key, variant, **options)

    def weights(self, variant: str) -> Tensor:
        """The float64 reference, (Lq, Lk)."""
        query, key = self.query.double()[None, None], self.key.double()[None, None]
        return staged.stages(query, key, variant).weights[0, 0]

    def library(self, variant: str) -> Tensor:
        return attention_weights(self.query[None, None], self.key[None, None], variant)[0, 0]


def words(length: int) -> list[str]:
    return [f"w{position}" for position in range(length)]


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.random()


@pytest.fixture(scope="module")
def two(head, tmp_path_factory) -> Path:
    """softmax and lssar:p=15 side by side."""
    path = tmp_path_factory.mktemp("two") / "map.html"
    maps = [HeadMap(name, head.map(name), train_length=TRAINED) for name in TWO]
    write_page(
        maps, path, "Two maps", tokens=words(LENGTH), about="a test", command="freeatten map"
    )
    return path


TWO = ["softmax", "lssar:p=15"]


def view(page) -> dict[str, float]:
    return page.evaluate("({...freeatten.page.view})")


def look(page, **wanted):
    page.evaluate("view => freeatten.page.look(view)", wanted)
    settled(page)


def colour(page, query, key, index=0) -> list[int]:
    """What is drawn at the middle of a token's cell."""
    return page.evaluate(
        """([index, query, key]) => {
            const { panels, view } = freeatten.page;
            const { plot } = panels[index];
            const x = Math.round(plot.x(key + 0.5, view) * plot.ratio);
            const y = Math.round(plot.y(query + 0.5, view) * plot.ratio);
            const dot = new OffscreenCanvas(1, 1).getContext("2d");
            dot.drawImage(plot.canvas, -x, -y);
            return [...dot.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [index, query, key],
    )


# Numbers


def test_any_weight_can_be_asked_for(head, two, visit):
    """`tests/core/battery.py` holds the page's formulas to float64 for every variant."""
    page = visit(two)
    draw = np.random.default_rng(2)
    pairs = [(0, 0), (2, 1), (3, 3), (LENGTH - 1, 0), (LENGTH - 1, LENGTH - 1), (40, 41)]
    pairs += [(int(i), int(draw.integers(0, i + 1))) for i in draw.integers(4, LENGTH, 60)]
    rows, keys = map(list, zip(*pairs, strict=True))
    for index, (variant, power) in enumerate(zip(TWO, (1, 15), strict=True)):
        found = ask(
            page,
            "([map, pairs]) => Promise.all(pairs.map(([i, j]) => freeatten.weight(map, i, j)))",
            [index, pairs],
        )
        expected = head.weights(variant)[rows, keys]
        error = (torch.tensor(found, dtype=torch.float64) - expected).abs()
        assert (error <= 1e-6 * power * (1 + expected)).all(), variant


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("shape", [(90, 90, True), (40, 90, True), (90, 40, True), (50, 90, False)])
def test_regions_match_the_library(shape, pool, tmp_path, visit):
    queries, keys, is_causal = shape
    head = Head.random(keys, queries=queries, seed=3)
    built = head.map("lssar:p=3", is_causal=is_causal, pool=pool)
    write_page([HeadMap("lssar:p=3", built)], tmp_path / "map.html", "Regions")
    page = visit(tmp_path / "map.html")
    regions = [(0, queries, 0, keys, 8), (0, queries, 0, keys, 512), (7, 33, 5, 39, 512)]
    regions += [(7, 33, 5, 39, 17), (queries - 1, queries, 0, keys, 512), (3, 38, 2, 37, 9)]
    for bounds in regions:
        found = ask(
            page,
            """async (bounds) => {
                const source = await freeatten.page.source(freeatten.page.options.maps[0]);
                const region = await source.region(...bounds);
                const { codes, weights } = region;
                return {...region, codes: [...codes], weights: weights && [...weights]};
            }""",
            bounds,
        )
        expected = built.region(*bounds)
        assert [found["rows"], found["columns"]] == list(expected.codes.shape)
        place = (found["query_start"], found["key_start"], found["cell"])
        assert place == (expected.query_start, expected.key_start, expected.cell)
        steps = np.array(found["codes"]) - expected.codes.reshape(-1).astype(int)
        assert np.abs(steps).max() <= 1
        if expected.weights is not None:
            error = np.array(found["weights"]) - expected.weights.reshape(-1)
            assert np.abs(error).max() <= 2e-6


@pytest.mark.parametrize(
    ("variant", "pool"), [("lssar:p=3", "max"), ("lssar:p=3", "mean"), ("softmax", "max")]
)
def test_learned_numbers_and_a_window_match_the_library(variant, pool, tmp_path, visit):
    head, length = Head.random(90, seed=3), 90
    terms = ScoreTerms(
        torch.tensor([1.4]), torch.tensor([0.05]), torch.linspace(1, -1, 20)[None].cos(),
        -torch.linspace(0, 4, length).square()[None, None],
    )  # fmt: skip
    built = head.map(variant, pool=pool, terms=terms, window=40)
    write_page([HeadMap(variant, built)], tmp_path / "map.html", "Learned")
    page = visit(tmp_path / "map.html")
    for bounds in [(0, length, 0, length, 512), (30, 83, 5, 80, 40)]:
        found = ask(
            page,
            """async (bounds) => {
                const source = await freeatten.page.source(freeatten.page.options.maps[0]);
                const { weights } = await source.region(...bounds);
                return [...weights];
            }""",
            bounds,
        )
        expected = built.region(*bounds).weights
        assert np.abs(np.array(found) - expected.reshape(-1)).max() <= 2e-6
    before = "freeatten.page.source(freeatten.page.options.maps[0]).then(s => s.weight(80, 40))"
    assert ask(page, f"() => {before}")["kind"] == "hidden"
    own = built.weights(80, 81, 0, length)[0]
    assert ask(page, f"() => {before.replace('40', '41')}")["value"] == pytest.approx(
        float(own[41]), abs=2e-6
    )


def test_zoom_to_one_token_and_read_its_weight(head, two, visit):
    page = visit(two)
    for query, key in [(300, 299), (300, 3), (451, 440)]:
        look(page, query=0, key=0, span=LENGTH)
        for limit in (80, 10):  # a pixel of the whole map is more than a token
            page.mouse.move(*place(page, query, key))
            page.mouse.wheel(0, -700)
            page.mouse.wheel(0, -700)
            wait(page, "freeatten.page.view.span <= given", limit)
        page.mouse.wheel(0, -700)
        wait(page, "freeatten.page.view.span <= 5")
        settled(page)
        page.mouse.move(*place(page, query, key))
        wait(page, POINTED, [query, key])
        settled(page)
        where = page.locator(".fa-where").text_content()
        assert f"w{query} at {query}" in where
        assert f"w{key} at {key}, {query - key} back" in where
        for index, variant in enumerate(TWO):
            expected = head.library(variant)[query, key].item()
            assert shown(page, index) == pytest.approx(expected, rel=1e-3, abs=1e-7)
            text = page.locator(".fa-weight").nth(index).text_content()
            if expected >= 1e-3:
                assert float(text.split()[0]) == pytest.approx(expected, rel=2e-3)


def test_zero_tiny_and_not_visible_are_told_apart(head, two, visit):
    page = visit(two)
    weights = head.library("lssar:p=15")
    query = 500
    zero = int((weights[query] == 0).nonzero()[0])
    texts = ask(
        page,
        """([query, keys]) => Promise.all(keys.map((key) =>
            freeatten.page.panels[1].worded({ query, key }).then(([, text]) => text)))""",
        [query, [zero, query + 1, int(weights[query].argmax())]],
    )
    assert texts[0].startswith("exactly 0")
    assert texts[1] == "not visible"
    assert "exactly" not in texts[2]
    look(page, query=490, key=490, span=20)
    assert colour(page, 495, 503, index=1) != colour(page, 500, zero, index=1)
    hidden = colour(page, 495, 503)
    assert max(hidden) - min(hidden) < 12  # a grey


def test_strongest_sources_and_a_jump_to_one(head, two, visit):
    page = visit(two)
    page.mouse.click(*place(page, 400, 10))
    wait(page, "freeatten.page.drawer.lists[0].query === freeatten.page.pin")
    query = page.evaluate("freeatten.page.pin")
    for index, variant in enumerate(TWO):
        values, keys = head.library(variant)[query].topk(10)
        count = int((values > 0).sum())
        rows = page.locator(".fa-sources").nth(index).locator(".fa-source")
        assert rows.count() == count
        assert rows.locator(".fa-token").all_text_contents() == [f"w{k}" for k in keys[:count]]
        first = rows.locator(".fa-value").first.text_content()
        assert float(first) == pytest.approx(values[0].item(), rel=1e-2)
    key = int(head.library("softmax")[query].argmax())
    page.locator(".fa-source").first.click()
    settled(page)
    now = view(page)
    assert now["span"] <= 48
    assert now["query"] <= query < now["query"] + now["span"]
    assert now["key"] <= key < now["key"] + now["span"]
    assert page.evaluate("freeatten.page.cross") == {"query": query, "key": key}


# Gestures


def test_wheel_keeps_the_token_under_the_pointer(two, visit):
    page = visit(two)
    x, y = place(page, 420, 130)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    wait(page, "freeatten.page.view.span < 400")
    assert place(page, 420, 130) == pytest.approx((x, y), abs=1.5)
    before = view(page)
    page.mouse.down()
    page.mouse.move(x - 30, y - 20, steps=4)
    page.mouse.up()
    settled(page)
    assert view(page)["query"] > before["query"]
    assert view(page)["key"] > before["key"]
    assert page.evaluate("freeatten.page.pin") is None  # a drag is no click


def test_keys(two, visit):
    page = visit(two)
    page.locator("canvas").first.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert view(page)["span"] == LENGTH / 4
    start = view(page)
    for key, axis, sign in [
        ("ArrowDown", "query", 1),
        ("ArrowRight", "key", 1),
        ("ArrowUp", "query", -1),
        ("ArrowLeft", "key", -1),
    ]:
        before = view(page)
        page.keyboard.press(key)
        assert math.copysign(1, view(page)[axis] - before[axis]) == sign
    assert view(page) == start
    page.keyboard.press("-")
    assert view(page)["span"] == LENGTH / 2
    page.keyboard.press("Home")
    assert view(page) == {"query": 0, "key": 0, "span": LENGTH}
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    cross = page.evaluate("freeatten.page.cross")
    assert page.evaluate("freeatten.page.pin") == cross["query"]
    wait(page, "document.querySelector('[aria-live]').textContent.includes('reads')")
    page.keyboard.press("Escape")
    assert page.evaluate("[freeatten.page.pin, freeatten.page.cross]") == [None, None]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_a_zoom_by_key_keeps_the_cross_in_place(two, visit):
    page = visit(two)
    page.mouse.move(*place(page, 420, 130))
    page.locator("canvas").first.focus()
    before = place(page, 420, 130)
    page.keyboard.press("+")
    page.keyboard.press("+")
    settled(page)
    assert view(page)["span"] == LENGTH / 4
    assert place(page, 420, 130) == pytest.approx(before, abs=1.5)
    page.keyboard.press("Escape")
    middle = view(page)["query"] + view(page)["span"] / 2
    page.keyboard.press("+")
    assert view(page)["query"] + view(page)["span"] / 2 == middle


def test_the_wheel_scrolls_the_page_where_the_whole_map_is_shown(two, visit):
    page = visit(two, height=400)
    page.mouse.move(*place(page, 200, 100))
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 100)
    wait(page, "scrollY > given", before)
    assert view(page)["span"] == LENGTH
    scrolled = page.evaluate("scrollY")
    page.mouse.move(*place(page, 200, 100))
    held = page.evaluate("scrollY")
    page.mouse.wheel(0, -200)
    wait(page, "freeatten.page.view.span < given", LENGTH)
    page.mouse.wheel(0, 50)
    settled(page)
    assert page.evaluate("scrollY") == held
    assert scrolled > before


def test_buttons_and_the_order_of_tab(two, visit):
    page = visit(two)
    page.get_by_role("button", name="zoom in").click()
    assert view(page)["span"] == LENGTH / 2
    page.get_by_role("button", name="zoom out").click()
    page.get_by_role("button", name="zoom in").click()
    page.get_by_role("button", name="show the whole map").click()
    assert view(page)["span"] == LENGTH
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.tagName"))
    assert reached.count("CANVAS") == 2
    names = page.locator("canvas").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert all(name in label for name, label in zip(TWO, names, strict=True))


def test_fingers(two, visit):
    page = visit(two, width=390, height=844, has_touch=True, is_mobile=True)
    x, y = place(page, 300, 200)
    devtools = page.context.new_cdp_session(page)

    def touch(kind, *points):
        points = [{"x": px, "y": py, "id": at} for at, (px, py) in enumerate(points)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 20, y), (x + 20, y))
    touch("touchMove", (x - 50, y), (x + 50, y))
    touch("touchMove", (x - 80, y), (x + 80, y))
    touch("touchEnd")
    wait(page, "freeatten.page.view.span < 220")
    settled(page)
    before = view(page)
    touch("touchStart", (x, y))
    touch("touchMove", (x - 20, y - 20))
    touch("touchMove", (x - 40, y - 40))
    touch("touchEnd")
    wait(page, "freeatten.page.view.key > given", before["key"])
    assert view(page)["query"] > before["query"]
    assert view(page)["span"] == before["span"]
    page.touchscreen.tap(x, y)
    wait(page, "freeatten.page.pin !== null")


def test_views_and_the_cross_are_linked(two, visit):
    page = visit(two)
    look(page, query=100, key=90, span=40)
    page.mouse.move(*place(page, 120, 100, index=1))
    wait(page, "freeatten.page.cross?.query === 120")
    settled(page)
    assert all(shown(page, index) >= 0 for index in (0, 1))
    tiles = page.evaluate("freeatten.page.panels.map(({tile}) => [tile.query_start, tile.cell])")
    assert tiles == [[100, 1], [100, 1]]


# Links, difference, heads


def test_a_link_restores_the_view(two, visit):
    page = visit(two)
    look(page, query=150, key=100, span=50)
    page.mouse.click(*place(page, 170, 120))
    page.get_by_label("Difference").select_option("0-1")
    wait(page, "['span=50', 'pin=170', 'diff=0-1'].every((part) => location.hash.includes(part))")
    state = page.evaluate("location.hash.slice(1)")
    again = visit(two, state)
    assert view(again) == {"query": 150, "key": 100, "span": 50}
    assert again.evaluate("freeatten.page.pin") == 170
    assert again.locator("canvas").count() == 3
    assert "softmax − lssar:p=15" in again.locator(".fa-name").last.text_content()
    again.evaluate("location.hash = 'q=1&k=2&span=30'")
    wait(again, "freeatten.page.view.span === 30 && freeatten.page.pin === null")


@pytest.mark.parametrize("state", ["q=x&k=&span=", "diff=7-9&pin=-1", "%%%", "pin=1e9&head=no"])
def test_a_broken_link_shows_the_whole(two, state, visit):
    page = visit(two, state)
    assert view(page) == {"query": 0, "key": 0, "span": LENGTH}
    assert page.locator("canvas").count() == 2


@pytest.mark.parametrize("measure", ["mass", "ratio"])
def test_difference_map(head, two, visit, measure):
    suffix = "" if measure == "mass" else "-ratio"
    page = visit(two, f"diff=0-1{suffix}&q=300&k=290&span=20")
    settled(page)
    first, second = (head.library(name) for name in TWO)
    page.mouse.move(*place(page, 305, 300, index=2))
    wait(page, "freeatten.page.cross?.query === 305")
    settled(page)
    expected = (first[305, 300] - second[305, 300]).item()
    assert shown(page, 2) == pytest.approx(expected, abs=1e-6)
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    page.evaluate("freeatten.page.letGo()")
    settled(page)
    octaves = (first.clamp(min=2**-24) / second.clamp(min=2**-24)).log2()
    mass = first - second
    told = 0
    for key in range(295, 302):
        red, _, blue = colour(page, 305, key, index=2)
        strong, sign = {
            "mass": (mass[305, key].abs() > 1e-3, mass[305, key] > 0),
            "ratio": (octaves[305, key].abs() > 2, octaves[305, key] > 0),
        }[measure]
        if strong:
            told += 1
            assert (red > blue) == sign
    assert told


def test_a_difference_of_tiny_weights_is_pale_by_mass_and_strong_by_ratio(head, two, visit):
    first, second = (head.library(name).clamp(min=2**-24) for name in TWO)
    tiny = ((first < 1e-4) & (second < 1e-4) & ((first / second).log2().abs() > 5)).tril()
    query, key = tiny.nonzero()[-1].tolist()
    view = f"q={query - 10}&k={max(key - 10, 0)}&span=20"

    def spread(suffix):
        page = visit(two, f"diff=0-1{suffix}&{view}")
        settled(page)
        found = colour(page, query, key, index=2)
        return max(found) - min(found)

    assert spread("") < 30 < spread("-ratio")


def test_a_difference_stands_beside_its_maps(two, visit):
    page = visit(two, "diff=0-1", height=720)
    boxes = [one.bounding_box() for one in page.locator(".fa-canvas").all()]
    assert len(boxes) == 3
    assert len({box["y"] for box in boxes}) == 1
    assert all(box["y"] + box["height"] <= 720 for box in boxes)
    assert overlapping(boxes_of(page, ".fa-canvas, .fa-button, .fa-name, .fa-choice", 1280)) == []


def test_a_close_view_of_small_weights_is_never_one_dark_colour(tmp_path, visit):
    # far from the diagonal weights are between 2^-24, the scale's floor, and 2^-18
    head = Head.random()
    quiet = Head(0.3 * head.query, head.key)
    built = quiet.map("softmax", terms=ScoreTerms(None, torch.tensor([0.04])))
    write_page([HeadMap("softmax", built)], tmp_path / "map.html", "Far")
    page = visit(tmp_path / "map.html")
    settled(page)
    whole = "of what is in view"
    title = page.locator(".fa-legend-title").first
    assert whole not in title.text_content()
    look(page, query=400, key=100, span=20)
    assert page.evaluate("freeatten.page.range.top") < -18
    pixels = """(() => {
        const { image } = freeatten.page.panels[0].tile;
        const { data } = image.getContext("2d").getImageData(0, 0, image.width, image.height);
        return new Set(new Uint32Array(data.buffer)).size;
    })()"""
    assert page.evaluate(pixels) > 20
    assert whole in title.text_content()
    look(page, query=580, key=0, span=20)  # all below the floor
    assert page.evaluate(pixels) == 1
    said = page.locator(".fa-weight").text_content()
    assert said == "all in view: 0, or below 6 × 10⁻⁸"
    page.get_by_role("button", name="show the whole map").click()
    settled(page)
    assert whole not in title.text_content()
    assert page.locator(".fa-weight").text_content().strip() == ""


def test_the_way_back_undoes_a_view(two, visit):
    page = visit(two)
    for span in (100, 40):
        look(page, query=150, key=100, span=span)
        wait(page, "location.hash.includes(given)", f"span={span}")
    page.go_back()
    wait(page, "freeatten.page.view.span === 100")
    page.go_back()
    wait(page, "freeatten.page.view.span === given", LENGTH)


def test_heads_are_a_choice(tmp_path, visit):
    heads = [Head.random(64, seed=seed) for seed in (5, 6)]
    maps = [
        HeadMap(name, head.map(name), head=f"layer 0, head {index}")
        for index, head in enumerate(heads)
        for name in ("softmax", "relu")
    ]
    write_page(maps, tmp_path / "map.html", "Heads")
    page = visit(tmp_path / "map.html")
    page.locator("select").first.select_option("layer 0, head 1")
    wait(page, "freeatten.page.head === 'layer 0, head 1'")
    settled(page)
    weight = ask(page, "freeatten.page.panels[0].source.weight(50, 20).then(({ value }) => value)")
    assert weight == pytest.approx(heads[1].library("softmax")[50, 20].item(), rel=1e-4)
    wait(page, "location.hash.includes('head+1')")
    again = visit(tmp_path / "map.html", page.evaluate("location.hash.slice(1)"))
    assert again.evaluate("freeatten.page.head") == "layer 0, head 1"


# Sources that take their time


SLOW = """async (fails) => {
    const inner = await freeatten.page.source(freeatten.page.options.maps[0]);
    window.release = [];
    let isAway = false;
    const source = {
        meta: inner.meta,
        last: (query) => inner.last(query),
        weight: (...pair) => inner.weight(...pair),
        strongest: (...query) => inner.strongest(...query),
        region: async (...bounds) => {
            if (isAway && fails) throw new Error("the server is away");
            if (isAway) await new Promise((resolve) => window.release.push(resolve));
            return inner.region(...bounds);
        },
    };
    freeatten.page.destroy();
    const maps = [{ name: "slow", head: "", load: async () => source }];
    freeatten.page = new freeatten.MapView(document.getElementById("freeatten-root"), { maps });
    await freeatten.page.ready;
    isAway = true;
}"""


def test_the_overview_stays_under_what_is_loading(two, visit):
    page = visit(two)
    ask(page, SLOW, False)
    page.evaluate("freeatten.page.look({ query: 300, key: 100, span: 64 })")
    wait(page, "window.release.length === 1")
    page.evaluate("freeatten.page.paintAll()")
    assert page.evaluate("freeatten.page.panels[0].tile.cell") > 1
    coarse = {tuple(colour(page, query, 130)) for query in range(302, 360, 3)}
    assert all(max(rgb) - min(rgb) > 30 for rgb in coarse)  # colours of the scale: not blank
    page.evaluate("freeatten.page.look({ query: 310, key: 110, span: 64 })")
    page.evaluate("freeatten.page.look({ query: 320, key: 120, span: 64 })")
    page.evaluate("window.release.shift()()")
    wait(page, "window.release.length === 1")
    page.evaluate("window.release.shift()()")  # the view between was never asked for
    settled(page)
    assert page.evaluate("freeatten.page.panels[0].tile.query_start") == 320


def test_a_failing_source_says_so(two, visit):
    page = visit(two)
    ask(page, SLOW, True)
    look(page, query=300, key=100, span=64)
    assert page.locator(".fa-weight").text_content() == "this view could not be loaded"
    assert [text for text in visit.complaints if "the server is away" in text]
    visit.complaints.clear()


ROUGH = """async () => {
    const inner = await freeatten.page.source(freeatten.page.options.maps[0]);
    const { queryLength, keyLength } = inner.meta;
    window.isAway = true;
    const source = {
        meta: { ...inner.meta, base: 1 },
        last: (query) => inner.last(query),
        weight: (...pair) => inner.weight(...pair),
        strongest: (...query) => inner.strongest(...query),
        preview: async () => ({ ...await inner.region(0, queryLength, 0, keyLength, 40), of: 4 }),
        region: async (...bounds) => {
            if (window.isAway) throw new Error("the server is away");
            return inner.region(...bounds);
        },
    };
    freeatten.page.destroy();
    const maps = [{ name: "rough", head: "", load: async () => source }];
    freeatten.page = new freeatten.MapView(document.getElementById("freeatten-root"), { maps });
    await freeatten.page.ready;
}"""


def test_a_preview_whose_rest_could_not_be_loaded_says_so_and_the_next_view_loads_it(two, visit):
    page = visit(two)
    ask(page, ROUGH)
    rough, cell = page.locator(".fa-rough"), "freeatten.page.panels[0].overview.cell"
    wait(page, "!freeatten.page.panels[0].refining")
    told = " – preview: 4 of every 16 rows; the rest could not be loaded"
    assert (rough.text_content(), page.evaluate(cell)) == (told, 16)
    visit.complaints.clear()
    page.evaluate("window.isAway = false")
    look(page, query=300, key=100, span=200)
    wait(page, "document.querySelector('.fa-rough').hidden")
    settled(page)
    assert page.evaluate(cell) < 16
    assert page.evaluate("freeatten.page.panels[0].tile.query_start") == 300
    assert page.locator(".fa-failed").count() == 0


def test_a_page_without_frames_draws(two, visit):
    page = visit(two, frames=False)
    look(page, query=300, key=290, span=20)
    assert page.evaluate("freeatten.page.panels[0].tile.cell") == 1
    assert len({tuple(colour(page, 310, key)) for key in range(291, 309, 2)}) > 3


# Looks


BOXED = (
    "h1, .fa-button, .fa-choice, .fa-where, .fa-caption, .fa-canvas, .fa-legend-part, .fa-notes, "
    ".fa-side-title, .fa-sources-of, .fa-tick, footer"
)


@pytest.mark.parametrize("state", ["", "q=100&k=90&span=24&pin=110&diff=0-1"])
def test_nothing_overlaps_or_sticks_out(two, state, visit, tmp_path):
    page = visit(two, state)
    page.mouse.move(*place(page, 112, 100))
    for width, height in [(1280, 800), (768, 1024), (390, 844)]:
        page.set_viewport_size({"width": width, "height": height})
        assert overlapping(boxes_of(page, BOXED, width)) == []
        for scheme, paper in [("dark", [20, 23, 28]), ("light", [255, 255, 255])]:
            page.emulate_media(color_scheme=scheme)
            boxes_of(page, BOXED, width)
            background = "getComputedStyle(document.documentElement).backgroundColor"
            assert page.evaluate(background) == f"rgb({', '.join(map(str, paper))})"
            picture = page.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
            assert len(picture) > 10_000


def test_the_theme_can_be_switched(two, visit):
    page = visit(two, color_scheme="light")
    page.get_by_role("button", name="switch light and dark").click()
    settled(page)
    dark = "rgb(20, 23, 28)"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark
    corner = "[...freeatten.page.panels[0].plot.context.getImageData(1, 1, 1, 1).data].slice(0, 3)"
    assert page.evaluate(corner) == [20, 23, 28]


def test_the_view_is_saved_as_a_picture(two, visit, tmp_path):
    page = visit(two)
    with page.expect_download() as download:
        page.get_by_role("button", name="save this view as a picture").click()
    assert download.value.suggested_filename == "attention-map.png"
    download.value.save_as(tmp_path / "map.png")
    data = (tmp_path / "map.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") > 800


# Text


def test_hostile_text_is_inert(tmp_path, visit):
    tokens = (HOSTILE * 4)[:48]
    head = Head.random(48, seed=7)
    name = "".join(HOSTILE)
    maps = [HeadMap(f"{at}{name}", head.map("softmax"), head=name) for at in range(2)]
    path = tmp_path / "map.html"
    write_page(maps, path, name, tokens=tokens, about=name, command=name, difference=(0, 1))
    for state in ("q=0&k=0&span=12&pin=47", f"head={HOSTILE[0]}&pin=%3Cscript%3E"):
        page = visit(path, state)
        settled(page)
        for query in range(12):
            page.evaluate("(query) => freeatten.page.jump(query, 0)", query)
            settled(page)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img, b, iframe").count() == 0
        assert page.locator("script").count() == 4
        sent = page.evaluate(
            "freeatten.page.tokens.map((token) => [...token].map((one) => one.codePointAt(0)))"
        )
        assert sent == [[ord(one) for one in token] for token in tokens]
    page.evaluate("freeatten.page.jump(8, 0)")
    assert "<script>window.hacked" in page.locator(".fa-where").text_content()
    turned = page.evaluate("freeatten.page.token(6)")
    assert "⟨U+202E⟩" in turned
    assert page.evaluate("freeatten.page.token(4)") == "␀␛␍↵⇥␡"
    assert page.evaluate("freeatten.page.token(10)") == "·a·"


# Speed
