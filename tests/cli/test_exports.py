"""Files are complete, self-contained, and whole or absent."""

import csv
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from freeatten_cli import exports
from PIL import Image
from sample_result import sample_result, without_intervals

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.figures.comparison import comparison_figure

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, BROWSERS)), reason="PNG and SVG need Chromium"
)


def sample_figure():
    return comparison_figure(sample_result(["softmax", "lssar:p=15"]), theme="dark")


@pytest.fixture
def figure():
    return sample_figure()


class Sources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag in {"script", "link", "img", "iframe"}:
            self.found += [value for key, value in attrs if key in {"src", "href"}]


def test_page_is_self_contained(figure, tmp_path):
    path = tmp_path / "figure.html"
    exports.save_figure(figure, path)
    text = path.read_text(encoding="utf-8")
    parser = Sources()
    parser.feed(text)
    assert parser.found == []
    assert len(text) > 1_000_000  # plotly.js is inside
    assert "which attention breaks?</title>" in text
    assert '"showSendToCloud": false' in text
    assert "background: #14171c" in text
    assert '"responsive": true' in text
    assert f"main {{ min-width: {figure.layout.width}px; }}" in text
    assert f"height:{figure.layout.height}px; width:100%" in text
    assert f'"width":{figure.layout.width}' not in text


def test_figure_itself_is_not_painted(figure, tmp_path):
    exports.save_figure(figure, tmp_path / "figure.html")
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """The sample in a file in PNG, which costs a start of Chromium."""
    path = tmp_path_factory.mktemp("picture") / "figure.png"
    exports.save_figure(sample_figure(), path)
    return path


@needs_browser
def test_pictures(figure, picture, tmp_path):
    exports.save_figure(figure, tmp_path / "figure.SVG")
    png = picture.read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == figure.layout.width * exports.PNG_SCALE
    svg = (tmp_path / "figure.SVG").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "Softmax (standard)" in svg
    assert not re.search(r'(?:href|src)="http', svg)


@needs_browser
def test_a_picture_for_a_page_has_few_colours_and_is_small(figure, picture, tmp_path):
    exports.save_page_picture(figure, tmp_path / "small.webp")
    small = Image.open(tmp_path / "small.webp")
    shown = (figure.layout.width, figure.layout.height)
    assert small.format == "WEBP"
    assert small.size == tuple(round(points * exports.PAGE_SCALE) for points in shown)
    assert len(small.convert("RGB").getcolors(maxcolors=1_000_000)) <= 256
    assert (tmp_path / "small.webp").stat().st_size < picture.stat().st_size / 4


def packed(whole):
    """A picture as a page has it, unpacked again."""
    file = io.BytesIO()
    whole.save(file, "png")
    return Image.open(io.BytesIO(exports.page_picture(file.getvalue()))).convert("RGB")


def colour_error(whole, few):
    off = np.abs(np.asarray(whole, np.int64) - np.asarray(few, np.int64))
    return off.mean(), off.max()


def test_the_colours_of_a_plain_picture_are_kept():
    levels = np.random.default_rng(0).integers(0, 256, (20, 3), dtype=np.uint8)
    whole = Image.fromarray(levels[np.arange(20 * 64).reshape(32, 40) % 20])
    few = packed(whole)
    assert colour_error(whole, few) == (0, 0)
    assert len(few.getcolors()) == 20


@pytest.mark.parametrize("shades", [48, 100, 250])
def test_a_picture_has_as_many_colours_as_it_takes(shades):
    ramp = np.linspace([20, 0, 255], [250, 255, 0], shades).round().astype(np.uint8)
    whole = Image.fromarray(np.tile(ramp, (40, 1, 1)))
    few = packed(whole)
    mean, largest = colour_error(whole, few)
    assert mean <= exports.COLOUR_ERROR
    assert largest <= 4
    assert 32 < len(few.getcolors()) <= 256


def fail_with(monkeypatch, error):
    import kaleido

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(kaleido, "calc_fig_sync", fail)


def test_no_browser_names_the_remedy_and_leaves_the_old_file(figure, tmp_path, monkeypatch):
    from kaleido.errors import ChromeNotFoundError

    fail_with(monkeypatch, ChromeNotFoundError("none"))
    path = tmp_path / "figure.png"
    path.write_text("old")
    with pytest.raises(ContentError, match="apt-get install chromium"):
        exports.save_figure(figure, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, TimeoutError])
def test_an_interrupted_picture_leaves_nothing(figure, tmp_path, monkeypatch, failure):
    fail_with(monkeypatch, failure())
    with pytest.raises((KeyboardInterrupt, ContentError)):
        exports.save_figure(figure, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["figure", "figure.pdf", "nowhere/figure.html"])
def test_wrong_names_are_refused(figure, tmp_path, name):
    with pytest.raises(UsageError, match="cannot write"):
        exports.save_figure(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_line_per_variant_and_length(tmp_path):
    result = sample_result(["softmax", "lssar:p=15"])
    result["variants"][1]["nonfinite"] = {"logits": 3, "losses": 1}
    exports.save_csv(result, tmp_path / "table.csv")
    lines = read_csv(tmp_path / "table.csv")
    assert len(lines) == 10
    last = lines[-1]
    assert (last["variant"], last["length"], last["hurts_from"]) == ("lssar:p=15", "8192", "4096")
    assert float(last["loss"]) == 2.252
    assert float(last["loss_high"]) - float(last["loss_low"]) == pytest.approx(0.22)
    assert float(last["delta"]) == 0.232
    assert (last["swap_delta"], last["nonfinite_logits"]) == ("", "3")
    assert last["text_sha256"] == result["text"]["sha256"]


def test_csv_leaves_missing_numbers_empty(tmp_path):
    result = without_intervals(sample_result(["softmax"]))
    result["variants"][0]["loss"][2] = None
    exports.save_csv(result, tmp_path / "table.csv")
    lines = read_csv(tmp_path / "table.csv")
    assert lines[2]["loss"] == ""
    assert {line["loss_low"] for line in lines} == {""}
