"""A page of maps is complete, small, whole or absent, and text in it stays text."""

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from freeatten_core.analysis.map.attention_map import AttentionMap
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.mapview import (
    HeadMap,
    component_script,
    component_style,
    render_page,
    write_page,
)

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!--",
    "<!--<script>",
    "-->",
    "]]>",
    "&lt;&amp;",
    "\x00\x1b\r\n\t\x7f",
    "\u2028\u2029\ufeff",
    "\u202egnikcart",
    "\ud800",
    "👩‍💻",
    "مرحبا",
    '"\\',
    "",
    "{title}{0}%s",
]


def head_map(name="softmax", length=40, dim=8, seed=0, **options):
    draw = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, length, dim, generator=draw).half().float()
    return HeadMap(name, AttentionMap.build(query, key, name), **options)


@pytest.fixture(scope="module")
def softmax():
    return head_map()


class Tags(HTMLParser):
    """Every tag, attributes that can fetch, and what the script elements hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.scripts, self.inside = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for key, value in attrs if key in {"src", "href", "srcset"}]
        if tag == "script":
            self.inside = dict(attrs).get("id", "code")

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data


def unpack(page, index=0):
    scripts = Tags(page).scripts
    entry = json.loads(scripts["freeatten-page"])["maps"][index]
    raw = zlib.decompress(base64.b64decode(scripts[f"freeatten-map-{index}"]))
    arrays = {}
    for item in entry["directory"]:
        count = int(np.prod(item["shape"]))
        array = np.frombuffer(raw, item["dtype"], count, item["offset"])
        arrays[item["name"]] = array.reshape(item["shape"])
    return arrays, entry


def test_page_needs_nothing_else(softmax):
    page = render_page([softmax], "Where it looks", about="a text", command="freeatten map")
    found = Tags(page)
    assert found.fetched == ["data:,"]
    # the name of SVG is no address, and what begins with # is in the page itself
    assert re.findall(r"""https?://(?!www\.w3\.org/2000/svg")|@import|url\((?!#)""", page) == []
    assert "default-src 'none'" in page
    assert found.tags.count("script") == 3
    assert "<h1>Where it looks</h1>" in page
    assert "<p>a text</p>" in page
    assert "<code>freeatten map</code>" in page


def test_component_can_be_embedded():
    for text in (component_script(), component_style()):
        assert not re.search(r"</(script|style)|<!--", text, re.IGNORECASE)
    assert "innerHTML" not in component_script()
    assert "insertAdjacentHTML" not in component_script()


def test_payload_arrives_as_it_was(softmax):
    payload = softmax.map.to_payload()
    arrays, entry = unpack(render_page([replace(softmax, train_length=16)], "t"))
    assert set(arrays) >= {"query", "key", "key_scale", "scale", "last", "level_4"}
    for name, array in arrays.items():
        assert array.dtype == payload.arrays[name].dtype
        assert np.array_equal(array, payload.arrays[name])
    assert not any(name.startswith("rows_") for name in arrays)
    assert entry["metadata"]["train_length"] == 16
    assert entry["metadata"]["positivity"] == "exp"


def test_a_payload_is_as_good_as_a_map(softmax):
    payload = softmax.map.to_payload()
    assert render_page([HeadMap("softmax", payload)], "t") == render_page([softmax], "t")


def test_text_stays_text(softmax):
    tokens = (HOSTILE * 3)[:40]
    hostile = "".join(HOSTILE)
    plain = render_page([softmax], "t", about="a", command="c", tokens=["x"] * 40)
    page = render_page(
        [replace(softmax, name=hostile, head=hostile)],
        hostile,
        about=hostile,
        command=hostile,
        tokens=tokens,
    )
    found = Tags(page)
    assert found.tags == Tags(plain).tags
    data = json.loads(found.scripts["freeatten-page"])
    assert data["tokens"] == tokens
    assert data["maps"][0]["name"] == hostile
    assert re.search(r"[<>&]", found.scripts["freeatten-page"]) is None
    page.encode("utf-8")


def test_one_head_at_8k_tokens_is_about_six_megabytes():
    length, dim = 8192, 64
    generator = np.random.default_rng(0)
    payload = head_map(length=8, dim=dim).map.to_payload()
    visible = np.arange(2048)[:, None] >= np.arange(2048)
    cells = np.clip(generator.normal(128, 24, visible.shape), 1, 255) * visible
    row = generator.normal(size=length)
    arrays = {
        **dict.fromkeys(("scale", "bias", "gain", "out", "rise", "key_scale"), row),
        "last": np.arange(length),
        **{name: generator.normal(size=(length, dim)) for name in ("query", "key")},
        **{f"level_{4 << at}": cells[:: 1 << at, :: 1 << at] for at in range(12)},
    }
    page = render_page([HeadMap("x", replace(payload, arrays=arrays))], "t")
    assert 3_000_000 < len(page) < 7_000_000


def test_file_is_whole_or_absent(softmax, tmp_path, monkeypatch):
    path = tmp_path / "map.html"
    write_page([softmax], path, "first")
    before = path.read_text(encoding="utf-8")
    assert before == render_page([softmax], "first")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.write_text", full)
        with pytest.raises(ContentError, match="No space left"):
            write_page([softmax], path, "second")
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="does not exist"):
        write_page([softmax], tmp_path / "none" / "map.html", "t")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maps": []}, "no map to show"),
        ({"tokens": ["a"]}, "1 tokens for the 40 keys of softmax"),
        ({"maps": [head_map(), head_map("lssa", length=20)]}, "lssa has 20 queries and 20 keys"),
        ({"difference": (0, 1)}, "maps are numbered 0 to 0"),
        ({"difference": (-1, 0)}, "maps are numbered 0 to 0"),
    ],
)
def test_wrong_calls_say_what_is_wrong(softmax, change, words):
    maps = change.pop("maps", [softmax])
    with pytest.raises(UsageError, match=words):
        render_page(maps, "t", **change)


def test_incomplete_payload_is_named(softmax):
    payload = softmax.map.to_payload()
    arrays = {name: array for name, array in payload.arrays.items() if name != "rise"}
    with pytest.raises(UsageError, match="payload of softmax lacks rise"):
        render_page([HeadMap("softmax", replace(payload, arrays=arrays))], "t")
