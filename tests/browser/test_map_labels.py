"""What is written beside a map: whole, and on its canvas, also where the page is enlarged."""

import pytest
import torch
from pages import settled

from freeatten_core.analysis.map.attention_map import AttentionMap
from freeatten_core.mapview import HeadMap, write_page

LENGTH = 1016
"""The last tick, 1,000, is nearer to the end of a small map than half its width."""
LONG = ["authentication", " extraordinarily", "internationalisation", " ☃" * 8]
RECORD = """() => {
    const fill = CanvasRenderingContext2D.prototype.fillText;
    window.written = [];
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const { width } = this.measureText(text);
        const before = { left: 0, center: width / 2, right: width }[this.textAlign];
        const at = (dx) => {
            const { x: px, y: py } = this.getTransform().transformPoint(new DOMPoint(x + dx, y));
            return [px, py];
        };
        const ends = [at(-before), at(width - before)];
        window.written.push({
            text: text.replace(/[\\u2068\\u2069]/g, ""),
            isInside: ends.every(([px, py]) =>
                px >= 0 && px <= this.canvas.width && py >= 0 && py <= this.canvas.height),
        });
        return fill.call(this, text, x, y);
    };
    freeatten.page.paintAll();
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "map.html"
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(LENGTH, 16, generator=draw) for _ in range(2))
    tokens = [LONG[at % len(LONG)] for at in range(LENGTH)]
    built = AttentionMap.build(query, key, "softmax")
    write_page([HeadMap("softmax", built)], path, "Labels", tokens=tokens)
    return path


def written(page):
    """Every text that a new painting of the maps writes."""
    settled(page)
    page.evaluate(RECORD)
    found = page.evaluate("window.written")
    assert found
    return found


@pytest.mark.parametrize("scale", [1, 2])
def test_the_last_tick_is_whole_also_at_200_percent(path, visit, scale):
    page = visit(path, width=1280 // scale, height=800 // scale, device_scale_factor=scale)
    found = written(page)
    assert [each["text"] for each in found].count("1,000") == 2  # of queries and of keys
    assert [each["text"] for each in found if not each["isInside"]] == []


def test_close_up_a_token_is_written_whole(path, visit):
    page = visit(path, "q=500&k=496&span=4", width=1280)
    whole = "".join(each["text"] for each in written(page))
    for token in page.evaluate("[0, 1, 2, 3].map((at) => freeatten.page.token(at))"):
        assert whole.count(token) == 2  # beside its row and below its column
    assert "…" not in whole
