"""Results as files: pictures, self-contained pages and CSV; whole or absent."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import check_writable, replacing
from freeatten_core.results.format import CONTROLS, declares

from .terminal.streams import check_open

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL import Image

__all__ = [
    "PAGE_SCALE",
    "check_browser",
    "check_outputs",
    "page_picture",
    "save_csv",
    "save_figure",
    "save_lines",
    "save_page_picture",
]

PICTURES = {".png": "png", ".svg": "svg"}
PNG_SCALE = 2
PAGE_SCALE = 1.25
"""Of pictures in the pages, which show 1,280 points in some 830 to 930: nearly two of their pixels
in one."""
PALETTES = (32, 64, 128, 256)
COLOUR_ERROR = 0.5
"""Levels of 255 that a picture may be off in the mean: less than paper that is off by one."""
NO_BROWSER = (
    "no Chromium or Chrome was found, which PNG and SVG need: install one (on Debian, "
    "apt-get install chromium) or save the figure as .html"
)
MODE_BAR = {
    "displaylogo": False,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: {background}; overflow-x: auto; }}
main {{ min-width: {width}px; }}
</style>
</head>
<body>
<main>
{figure}
</main>
</body>
</html>
"""


def check_outputs(paths: Mapping[str, Path | None]) -> None:
    """Refuse an output that cannot be made before minutes are spent on it.

    Args:
        paths: by the ending that the name must have.

    Raises:
        UsageError: another ending, or a file that cannot be made there.
        ContentError: standard output is closed, or no browser for a picture.
    """
    check_open()
    for suffix, path in paths.items():
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"--{suffix[1:]} {path}: the name must end in {suffix}")
        check_writable(path)
        if suffix in PICTURES:
            check_browser()


def check_browser() -> None:
    """Whether there is a browser, which draws PNG and SVG.

    Raises:
        ContentError: none was found.
    """
    from choreographer.browsers.chromium import Chromium

    if Chromium.find_browser(skip_local=False) is None:
        raise ContentError(NO_BROWSER)


def save_figure(figure: go.Figure, path: Path | str) -> None:
    """Write a figure as .html (with plotly.js inside), .png or .svg, by the name's ending.

    Raises:
        UsageError: another ending, or a folder that does not exist.
        ContentError: no browser for a picture, or the disk does not take the file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".html" and suffix not in PICTURES:
        raise UsageError(f"cannot write {path}: name it .html, .png or .svg")
    with replacing(path) as temporary:
        if suffix == ".html":
            temporary.write_text(
                _page(_painted(figure)), encoding="utf-8", errors="backslashreplace"
            )
        else:
            temporary.write_bytes(_picture(_painted(figure), PICTURES[suffix]))


def save_page_picture(figure: go.Figure, path: Path) -> None:
    """A picture for a page: WebP of few colours.

    Raises:
        ContentError: as `save_figure`.
    """
    drawn = _picture(_painted(figure), "png", PAGE_SCALE)
    with replacing(path) as temporary:
        temporary.write_bytes(page_picture(drawn))


def page_picture(picture: bytes) -> bytes:
    """A picture as lossless WebP of few colours: history keeps every version of the pages'.

    Those there were took 4.19 MB as PNG of as many colours, and 2.82 so.
    """
    from PIL import Image

    file = BytesIO()
    with Image.open(BytesIO(picture)) as whole:
        _few_colours(whole).convert("RGB").save(file, "webp", lossless=True, quality=100, method=4)
    return file.getvalue()


def _few_colours(picture: Image.Image) -> Image.Image:
    """The picture with the smallest palette that is off by at most `COLOUR_ERROR` in the mean."""
    from PIL import Image, ImageChops, ImageStat

    whole = picture.convert("RGB")
    for colours in PALETTES:
        few = whole.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1)
        off = ImageStat.Stat(ImageChops.difference(whole, few.convert("RGB"))).mean
        if sum(off) / len(off) <= COLOUR_ERROR:
            break
    return few


def _painted(figure: go.Figure) -> go.Figure:
    """A copy on its theme's paper: a file is shown on backgrounds that nobody chose."""
    import plotly.graph_objects as go

    copy = go.Figure(figure)
    background = (copy.layout.meta or {}).get("background")
    return copy.update_layout(paper_bgcolor=background) if background else copy


def _page(figure: go.Figure) -> str:
    """As wide as the window; in one too narrow for the labels it scrolls."""
    least, height = figure.layout.width, figure.layout.height
    part = figure.update_layout(width=None).to_html(
        full_html=False,
        include_plotlyjs=True,
        config=MODE_BAR | {"responsive": True},
        default_width="100%",
        default_height=f"{height}px",
    )
    shown = (figure.layout.title.text or "freeatten").replace("<b>", "").replace("</b>", "")
    title = html.unescape(shown)
    background = figure.layout.paper_bgcolor or "#ffffff"
    return PAGE.format(title=html.escape(title), background=background, width=least, figure=part)


def _picture(figure: go.Figure, kind: str, scale: float = PNG_SCALE) -> bytes:
    import kaleido
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    options = {
        "format": kind,
        "width": figure.layout.width,
        "height": figure.layout.height,
        "scale": scale if kind == "png" else 1,
    }
    try:
        # MathJax would be fetched from the internet; Chromium's sandbox is off by default here.
        picture = kaleido.calc_fig_sync(figure.to_dict(), opts=options, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        raise ContentError(NO_BROWSER) from error
    except (BrowserClosedError, BrowserFailedError, TimeoutError) as error:
        raise ContentError(
            "the browser that draws PNG and SVG did not start or stopped; save the figure as "
            f".html ({type(error).__name__})"
        ) from error
    return bytes(picture)


def save_csv(result: Mapping[str, Any], path: Path | str) -> None:
    """Write one line per variant and length, missing numbers empty; errors as `replacing`."""
    save_lines(list(_csv_lines(result)), path)


def save_lines(lines: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Write lines of the same keys as CSV, the keys first; errors as `replacing`."""
    with (
        replacing(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _csv_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    others = ("restart_length", "declared_length") if any(map(declares, result["variants"])) else ()
    names = ("variant", "checkpoint", "train_length", *others)
    for row in result["variants"]:
        for index, length in enumerate(result["lengths"]):
            yield (
                {key: row.get(key) for key in names}
                | {"length": length}
                | _numbers(row, index)
                | _share(result, row, index)
                | _of_row(row)
                | _knee(result, row)
                | _of_run(result)
            )


def _numbers(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, interval in (
        ("loss", "ci95"),
        ("delta", "delta_ci95"),
        ("swap_delta", "swap_delta_ci95"),
    ):
        numbers[key] = _item(row.get(key), index)
        pair = _item(row.get(interval), index)
        numbers[f"{key}_low"] = _item(pair, 0)
        numbers[f"{key}_high"] = _item(pair, 1)
    return numbers | {"bits_per_byte": _item(row.get("bits_per_byte"), index)}


def _share(result: Mapping[str, Any], row: Mapping[str, Any], index: int) -> dict[str, Any]:
    if "ceiling" not in result:
        return {}
    pair = _item(row.get("ceiling_share_ci95"), index)
    share = _item(row.get("ceiling_share"), index)
    ends = {"ceiling_share_low": _item(pair, 0), "ceiling_share_high": _item(pair, 1)}
    return {"ceiling_share": share} | ends


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    nonfinite, first = row.get("nonfinite") or {}, row.get("first_not_finite") or {}
    keys = ("restart_loss", "ratio", "verdict", "hurts_from", "row_sum_deviation", "error")
    controls: dict[str, Any] = {}
    for key in (f"{name}_delta" for name in CONTROLS.values()):
        pair = row.get(f"{key}_ci95")
        controls |= {key: row.get(key), f"{key}_low": _item(pair, 0), f"{key}_high": _item(pair, 1)}
    return {
        **{key: row.get(key) for key in keys},
        **controls,
        "nonfinite_logits": nonfinite.get("logits"),
        "nonfinite_losses": nonfinite.get("losses"),
        **{f"first_not_finite_{key}": first.get(key) for key in ("length", "text", "position")},
    }


def _knee(result: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    if not result.get("positions"):
        return {}
    pair = row.get("knee_ci95")
    return {"knee": row.get("knee"), "knee_low": _item(pair, 0), "knee_high": _item(pair, 1)}


def _of_run(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("texts", "seed", "device", "dtype")} | {
        "partial": bool(result.get("partial")),
        "text_source": result["text"]["source"],
        "text_tokens": result["text"]["tokens"],
        "text_sha256": result["text"]["sha256"],
    }


def _item(values: Sequence[Any] | None, index: int) -> Any:
    return None if values is None else values[index]
