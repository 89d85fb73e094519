"""The static site: pages, scripts and data that open from disk and as a static Space.

Pages opened from disk may not fetch, so every data file is a script that adds one entry to
`window.freeattenData`; the page loads it when it is first shown.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from freeatten_core.analysis import STATISTICS, AttentionMap
from freeatten_core.analysis.map.attention_map import finest
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import check_makeable
from freeatten_core.basics.progress import Advance
from freeatten_core.figures.comparison import comparison_title
from freeatten_core.mapview import component_script, component_style, inert_json, pack
from freeatten_core.models.rows import Row
from freeatten_core.results.format import Result, count
from freeatten_core.results.stored import all_comparisons

from ..pages.markup import read, script, section, space_card
from ..tabs import comparison_view, evidence
from .heads import CHOICES, Choice, Picked, Seen

__all__ = ["Sizes", "check_folder", "data_name", "forecast", "write"]

SCRIPTS = ("elements.js", "sheets.js", "story.js", "quick.js", "compare.js", "site.js")
FILE_BYTES = 10_000_000
"""A Space takes larger files only through LFS."""
ROW_BYTES = 7 * 4
BASE64 = 4 / 3
PLOTLY_BYTES = 5_000_000
OTHER_BYTES = 7_000_000
"""Plotly, the charts, the tokens and the page itself, at most."""
SPACE = {"sdk": "static", "app_file": "index.html"}
SPACE_TEXT = """$title A comparison of small language models that differ in nothing but the
attention, and zoomable maps of where their heads look. Static: open `index.html` from disk, or
push this folder to a static Space. Made by `$command`.
"""


@dataclass(frozen=True)
class Sizes:
    """What a site takes, at most."""

    maps: int
    largest: int
    """Bytes of its largest file."""
    whole: int


def check_folder(out: Path) -> None:
    """Whether a site can be made at `out`, before a minute is spent on it.

    Raises:
        UsageError: it is a file, a folder with something in it, or in a place that takes none.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        what = "a file" if out.is_file() else "not empty"
        raise UsageError(f"{out} is {what}; name a new or an empty folder")
    check_makeable(out)


def forecast(rows: Sequence[Row], length: int) -> Sizes:
    """The size of a site with maps of so many tokens.

    Raises:
        UsageError: a map would be larger than a Space takes as one file.
    """
    from freeatten_core.analysis.map.attention_map import LEVEL_CELLS

    dim = max(each.head_dim for row in rows for each in row.checkpoint.config.shapes)
    levels = 4 / 3 * min(length, LEVEL_CELLS) ** 2
    one = int(BASE64 * (length * (2 * 2 * dim + ROW_BYTES) + levels))
    if one > FILE_BYTES:
        raise UsageError(
            f"a map of {length:,} tokens can take {one / 1e6:.1f} MB, and a Space takes files up "
            f"to {FILE_BYTES / 1e6:.0f} MB; choose a shorter --len"
        )
    maps = len(CHOICES) * len(rows)
    return Sizes(maps, max(one, PLOTLY_BYTES), maps * one + OTHER_BYTES)


def write(folder: Path, seen: Seen, command: str, advance: Callable[[str], Advance]) -> None:
    """Write the site into an existing folder."""
    results = all_comparisons()
    (folder / "data").mkdir()
    _write_maps(folder, seen, advance("maps"))
    for name, result in results.items():
        _write_data(folder, data_name(name), comparison_view.comparison(name, result))
    labels = seen.captures[0].labels(0, seen.captures[0].length)
    _write_data(folder, "tokens", labels)
    _write_data(folder, "site", _site(results, seen))
    _write_pages(folder, results[comparison_view.FIRST], command)


# Parts that are no data


def _write_pages(folder: Path, result: Result, command: str) -> None:
    from plotly.offline import get_plotlyjs

    words = {
        "title": comparison_title(result),
        "answer": comparison_view.first_answer(comparison_view.FIRST, result),
    }
    words["command"] = command
    safe = {name: html.escape(text) for name, text in words.items()}
    safe["compare"] = section(words["title"], words["answer"])
    for name, text in {
        "index.html": Template(read("index.html")).substitute(safe),
        "README.md": space_card(SPACE, Template(SPACE_TEXT).substitute(words)),
        "site.css": component_style() + read("site.css"),
        "site.js": script(*SCRIPTS),
        "component.js": component_script(),
        "plotly.min.js": get_plotlyjs(),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def data_name(result: str) -> str:
    """The data file of a stored result, such as `compare-systems-code`."""
    return f"compare-{result.replace('/', '-')}"


def _write_data(folder: Path, name: str, value: Any) -> None:
    entry = f"(window.freeattenData ??= {{}})[{inert_json(name)}] = {inert_json(value)};\n"
    (folder / "data" / f"{name}.js").write_text(entry, encoding="ascii")


# Maps


def _write_maps(folder: Path, seen: Seen, advance: Advance) -> None:
    """Write every map once."""
    distinct = {each.file: each for row in seen.picked for each in row}
    for index, (name, each) in enumerate(distinct.items()):
        attention = AttentionMap.of(each.capture, each.layer, each.head)
        payload = attention.to_payload(finest(attention))
        _write_data(folder, name, pack(payload, each.capture.train_length))
        advance(index + 1, len(distinct))


def _where(picked: Picked) -> str:
    return f"layer {picked.layer}, head {picked.head}"


def _site(results: Mapping[str, Result], seen: Seen) -> dict[str, Any]:
    return {
        "story": evidence.story(),
        "results": comparison_view.choices(results),
        "paper": comparison_view.paper_table(),
        "text": f"{count(seen.captures[0].length)} tokens of {seen.text}",
        "choices": [
            _choice(choice, picked) for choice, picked in zip(CHOICES, seen.picked, strict=True)
        ],
    }


def _choice(choice: Choice, picked: Sequence[Picked]) -> dict[str, Any]:
    statistic = STATISTICS[choice.statistic]
    return {
        "name": choice.name,
        "rule": f"largest mean of {statistic.label}: {statistic.meaning}",
        "maps": [
            {
                "variant": str(each.capture.variant),
                "where": _where(each),
                "value": choice.text(each.value),
                "file": each.file,
            }
            for each in picked
        ],
    }
