"""A page that holds attention maps whole: opened from disk, it needs nothing else.

The component is JavaScript in this folder, one concern a file. `component_script` puts the files
together; the page and the app both run exactly that text. Numbers travel as zlib-compressed
arrays in base64, recomputed and drawn by the page (`analysis.map.recipe` has the formula).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import write_text

if TYPE_CHECKING:
    from freeatten_core.analysis.map.attention_map import AttentionMap
    from freeatten_core.analysis.map.payload import Payload

__all__ = [
    "HeadMap",
    "component_script",
    "component_style",
    "inert_json",
    "pack",
    "render_page",
    "write_page",
]

SCRIPTS = (
    "colours.js",
    "words.js",
    "view.js",
    "stages.js",
    "link.js",
    "source.js",
    "payload.js",
    "draw.js",
    "interact.js",
    "panel.js",
    "side.js",
    "shading.js",
    "text.js",
    "sheet.js",
    "picture.js",
    "thumbnail.js",
    "controls.js",
    "drawer.js",
    "keys.js",
    "map.js",
    "boot.js",
)
"""In the order in which they are put together."""
ROW_ARRAYS = ("scale", "bias", "gain", "out", "rise", "last")
ARRAYS = ("query", "key", "key_scale", *ROW_ARRAYS)
OPTIONAL_ARRAYS = ("first", "by_distance", "decay", "carry")
"""Of a map whose rows see a window, whose scores depend on the distance, whose model forgets, of
stick-breaking."""
DTYPES = {"query": "float16", "key": "float16", "last": "int32", "first": "int32"}
METADATA = ("positivity", "top_log2", "floor_log2")
ALIGNMENT = 4
COMPRESSION = 6
PAGE = """<!doctype html>
<html lang="en" data-freeatten="page">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{about}</header>
<main id="freeatten-root"><noscript>The maps need JavaScript, which is off.</noscript></main>
{footer}<script type="application/json" id="freeatten-page">{data}</script>
{payloads}
<script>{script}</script>
</body>
</html>
"""
PAGE_STYLE = """
html { background: var(--fa-paper); color: var(--fa-text); }
body { max-width: 1500px; margin: 0 auto; padding: 16px 24px 28px; overflow-x: hidden;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans",
    sans-serif; }
h1 { font-size: 20px; line-height: 1.3; margin: 0 0 2px; overflow-wrap: anywhere; }
header p, footer { color: var(--fa-soft); margin: 0 0 10px; overflow-wrap: anywhere; }
footer { margin: 18px 0 0; font-size: 13px; }
footer code { font-family: ui-monospace, "Liberation Mono", "DejaVu Sans Mono", monospace; }
@media (max-width: 620px) { body { padding: 12px 16px 24px; } }
"""


@dataclass(frozen=True)
class HeadMap:
    """One map of a page: maps of the same `head` are shown side by side, by `name`."""

    name: str
    map: AttentionMap | Payload
    head: str = ""
    train_length: int | None = None


def write_page(
    maps: Sequence[HeadMap],
    path: Path | str,
    title: str,
    *,
    tokens: Sequence[str] | None = None,
    about: str = "",
    command: str = "",
    difference: tuple[int, int] | None = None,
    state: str = "",
) -> None:
    """Write maps as one self-contained HTML file; arguments as `render_page`.

    Raises:
        UsageError: see `render_page`, or the path cannot be written.
        ContentError: the disk is full.
    """
    text = render_page(
        maps,
        title,
        tokens=tokens,
        about=about,
        command=command,
        difference=difference,
        state=state,
    )
    write_text(Path(path), text)


def render_page(
    maps: Sequence[HeadMap],
    title: str,
    *,
    tokens: Sequence[str] | None = None,
    about: str = "",
    command: str = "",
    difference: tuple[int, int] | None = None,
    state: str = "",
) -> str:
    """The page as text.

    Args:
        maps: what is shown, in this order; several heads become a choice.
        title: of the page.
        tokens: the text, one string a position; any characters.
        about: a line under the title.
        command: what reproduces the page, shown under the maps.
        difference: show a map of how two of a head's maps differ, by their numbers, at first.
        state: the view to open with, as the component's own links write it (`q=0&k=0&span=48`);
            a link to the page goes before it.

    Raises:
        UsageError: no map, tokens of another length than the maps, maps of one head that differ in
            length, or a difference of maps that do not exist.
    """
    payloads = [_payload_of(item) for item in maps]
    _check(maps, payloads, tokens, difference)
    packed = [
        pack(payload, item.train_length) for item, payload in zip(maps, payloads, strict=True)
    ]
    texts = [each.pop("arrays") for each in packed]
    data = {
        "title": title,
        "tokens": None if tokens is None else list(tokens),
        "difference": difference,
        "about": about,
        "command": command,
        "state": state,
        "maps": [
            {"name": item.name, "head": item.head, **each}
            for item, each in zip(maps, packed, strict=True)
        ],
    }
    script = component_script()
    return PAGE.format(
        policy=_policy(script),
        title=_inert_text(title),
        style=component_style() + PAGE_STYLE,
        about=f"<p>{_inert_text(about)}</p>\n" if about else "",
        footer=(
            f"<footer>Made by <code>{_inert_text(command)}</code></footer>\n" if command else ""
        ),
        data=inert_json(data),
        payloads="\n".join(
            f'<script type="text/plain" id="freeatten-map-{index}">{text}</script>'
            for index, text in enumerate(texts)
        ),
        script=script,
    )


def pack(payload: Payload, train_length: int | None = None) -> dict[str, Any]:
    """A map as JSON, for the component: `arrays` is the text that its `unpacked` takes.

    The other entries are that function's `directory`, and the `metadata` of a `PayloadSource`.
    """
    metadata = dict(payload.metadata)
    if train_length is not None:
        metadata["train_length"] = train_length
    arrays, directory = _packed(payload.arrays)
    return {"metadata": metadata, "directory": directory, "arrays": arrays}


@cache
def component_script() -> str:
    """The component's JavaScript: it sets `window.freeatten` and nothing else."""
    folder = Path(__file__).parent
    files = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(files) + "})();\n"


@cache
def component_style() -> str:
    """The component's CSS; every rule is inside `.freeatten-map`."""
    return (Path(__file__).parent / "map.css").read_text(encoding="utf-8")


def _payload_of(item: HeadMap) -> Payload:
    """The payload itself, or that of a map."""
    source: Any = item.map
    payload: Payload = source.to_payload() if hasattr(source, "to_payload") else source
    return payload


def _check(
    maps: Sequence[HeadMap],
    payloads: Sequence[Payload],
    tokens: Sequence[str] | None,
    difference: tuple[int, int] | None,
) -> None:
    if not maps:
        raise UsageError("there is no map to show; give at least one")
    shapes: dict[str, tuple[int, int]] = {}
    for item, payload in zip(maps, payloads, strict=True):
        _check_payload(item.name, payload)
        shape = (len(payload.arrays["query"]), len(payload.arrays["key"]))
        if shapes.setdefault(item.head, shape) != shape:
            raise UsageError(
                f"maps of one head need the same lengths; {item.name} has {shape[0]} queries and "
                f"{shape[1]} keys, the first has {shapes[item.head][0]} and {shapes[item.head][1]}"
            )
        if tokens is not None and len(tokens) != shape[1]:
            raise UsageError(
                f"there are {len(tokens)} tokens for the {shape[1]} keys of {item.name}"
            )
    if difference is not None:
        fewest = min(sum(item.head == head for item in maps) for head in shapes)
        if not all(0 <= index < fewest for index in difference):
            raise UsageError(f"difference is {difference}; maps are numbered 0 to {fewest - 1}")


def _check_payload(name: str, payload: Payload) -> None:
    missing = [key for key in ARRAYS if key not in payload.arrays]
    missing += [key for key in METADATA if key not in payload.metadata]
    if missing:
        raise UsageError(f"the payload of {name} lacks {', '.join(missing)}")


def _packed(arrays: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Base64 of the compressed arrays, and where each of them lies."""
    compressor = zlib.compressobj(COMPRESSION)
    parts: list[bytes] = []
    directory: list[dict[str, Any]] = []
    offset = 0
    for name, array in arrays.items():
        if name not in (*ARRAYS, *OPTIONAL_ARRAYS) and not name.startswith("level_"):
            continue  # statistics that the page does not show
        dtype = "uint8" if name.startswith("level_") else DTYPES.get(name, "float32")
        raw = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
        directory.append(
            {"name": name, "dtype": dtype, "shape": list(np.shape(array)), "offset": offset}
        )
        raw += bytes(-len(raw) % ALIGNMENT)
        offset += len(raw)
        parts.append(compressor.compress(raw))
    parts.append(compressor.flush())
    return base64.b64encode(b"".join(parts)).decode("ascii"), directory


def _inert_text(text: str) -> str:
    """Text in the page's markup; what UTF-8 cannot hold becomes a question mark."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def inert_json(data: Any) -> str:
    """JSON that no text in it can turn into markup: no <, > or &, and ASCII only."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(script: str) -> str:
    """Only this script runs, and nothing is fetched."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
