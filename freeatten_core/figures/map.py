"""The picture of a head's map that `freeatten map` saves, in the colours of the map's page."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from freeatten_core.results.format import count

from .canvas import CLEAR, FONT, TITLE_SIZE, Element, Look, Theme, look_of
from .styles import markup

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from freeatten_core.analysis import Region

__all__ = ["map_figure"]

_MAP_TEXT_SIZE = 17
"""Larger than elsewhere: pages show maps side by side, at half their size."""
_MAP_LEFT, _MAP_RIGHT, _MAP_BOTTOM = 96, 130, 76
_MAP_LEAST, _MAP_MOST = 160, 1000
"""Height of the map itself."""
_HIDDEN: Mapping[str, str] = {"light": "#f0f1f3", "dark": "#20242b"}
"""Behind keys that a query does not see, as on the page of the map."""


def map_figure(
    region: Region,
    *,
    title: str,
    about: str = "",
    train_length: int | None = None,
    theme: Theme = "light",
    size: int = 820,
) -> go.Figure:
    """A region of an attention map as a heatmap of weights, log scale, in the colours of its page.

    Args:
        region: from `AttentionMap.region`.
        title: what the map is of.
        about: of what text; the first words of the subtitle.
        train_length: where to draw how far training went, if the region reaches beyond it.
        theme: colours of text and lines.
        size: width in pixels.
    """
    import plotly.graph_objects as go

    look = look_of(theme)
    trained = train_length if train_length and _crosses(region, train_length) else None
    headline, details = _map_texts(region, title, about, trained, size)
    width = size - _MAP_LEFT - _MAP_RIGHT
    rows, columns = region.codes.shape
    tall = min(max(width * rows / columns, _MAP_LEAST), _MAP_MOST)
    top = 64 + 26 * len(headline) + 23 * len(details)
    figure = go.Figure(_map_cells(region))
    figure.update_layout(
        title={
            "text": f"<b>{'<br>'.join(headline)}</b>",
            "subtitle": {
                "text": "<br>".join(line.removeprefix("· ") for line in details),
                "font": {"size": _MAP_TEXT_SIZE, "color": look.soft},
            },
            "font": {"size": TITLE_SIZE},
            "x": 0,
            "xref": "paper",
            "y": 1 - (30 + 14 * (len(headline) - 1)) / (tall + top + _MAP_BOTTOM),
            "yanchor": "top",
        },
        width=size,
        height=round(tall + top + _MAP_BOTTOM),
        margin={"l": _MAP_LEFT, "r": _MAP_RIGHT, "t": top, "b": _MAP_BOTTOM},
        paper_bgcolor=CLEAR,
        plot_bgcolor=_HIDDEN[theme],
        font={"family": FONT, "size": _MAP_TEXT_SIZE, "color": look.text},
        meta={"background": look.paper},
        xaxis=_map_axis(look, "key position", region.key_edges()[[0, -1]].tolist()),
        yaxis=_map_axis(look, "query position", region.query_edges()[[-1, 0]].tolist()),
        shapes=_map_lines(region, trained, look) if trained else [],
        annotations=_map_note(region, trained, look) if trained else [],
    )
    return figure


def _crosses(region: Region, trained: int) -> bool:
    """Whether a line of where training ended lies in the region: the level one or the diagonal."""
    ahead = region.key_length - region.query_length
    (first, last), (left, right) = region.query_edges()[[0, -1]], region.key_edges()[[0, -1]]
    level = first < trained < last
    diagonal = max(first, trained, left + trained - ahead) < min(last, right + trained - ahead)
    return bool(level or diagonal)


def _map_texts(
    region: Region, title: str, about: str, trained: int | None, size: int
) -> tuple[list[str], list[str]]:
    """The lines of title and subtitle."""
    said = [about] if about else []
    said.append(f"a cell is the {region.pool} of {region.cell} × {region.cell} tokens")
    if trained:
        said.append(
            f"dashed: trained up to here ({count(trained)} tokens); left of the dots: farther back "
            "than in training"
        )
    room = size - _MAP_LEFT
    headline = textwrap.wrap(title, int(room / (0.6 * TITLE_SIZE)))
    details = textwrap.wrap(" · ".join(said), int(room / (0.54 * _MAP_TEXT_SIZE)))
    return [*map(markup, headline)], [*map(markup, details)]


def _map_cells(region: Region) -> Element:
    import numpy as np

    scale = region.scale
    octaves = math.log2(10)
    powers = range(math.ceil(scale.floor_log2 / octaves), math.floor(scale.top_log2 / octaves) + 1)
    return {
        "type": "heatmap",
        "z": np.where(region.hidden(), np.nan, region.codes),
        "x0": region.key_start + region.cell / 2,
        "dx": region.cell,
        "y0": region.query_start + region.cell / 2,
        "dy": region.cell,
        "zmin": 0,
        "zmax": 255,
        "colorscale": "Viridis",
        "colorbar": {
            "title": {"text": "weight (log scale)", "side": "right"},
            "tickvals": [(power * octaves - scale.floor_log2) / scale.step for power in powers],
            "ticktext": [
                f"{10.0**power:g}" if power > -3 else f"10<sup>−{-power}</sup>" for power in powers
            ],
            "thickness": 18,
        },
        "hovertemplate": "key %{x}<br>query %{y}<extra></extra>",
    }


def _map_lines(region: Region, trained: int, look: Look) -> list[Element]:
    """Where training ended: light on dark, so that it is seen on every colour."""
    end, ahead = region.query_length, region.key_length - region.query_length
    seen = trained + ahead
    last = int(region.key_edges()[-1])
    lines = [
        (ahead, trained, seen, trained, "7px,5px", "rgba(0,0,0,0.55)", 3.5),
        (ahead, trained, seen, trained, "7px,5px", "#ffffff", 1.5),
        (min(seen, last), trained, last, trained, "7px,5px", look.text, 1.5),
        (ahead, trained, end + ahead - trained, end, "2px,4px", "rgba(0,0,0,0.55)", 3.5),
        (ahead, trained, end + ahead - trained, end, "2px,4px", "#ffffff", 1.5),
    ]
    return [
        {
            "type": "line",
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "line": {"dash": dash, "color": color, "width": width},
        }
        for x0, y0, x1, y1, dash, color, width in lines
    ]


def _map_note(region: Region, trained: int, look: Look) -> list[Element]:
    first, last = region.query_edges()[[0, -1]]
    if not first < trained < last:
        return []
    note = {"text": "trained up to here", "x": int(region.key_edges()[-1]), "y": trained}
    place = {"xanchor": "right", "yanchor": "bottom", "xshift": -4, "yshift": 2}
    return [note | place | {"showarrow": False, "bgcolor": look.veil, "font": {"size": 14}}]


def _map_axis(look: Look, title: str, ends: Sequence[int]) -> Element:
    return {
        "title": {"text": title},
        "range": list(ends),
        "showgrid": False,
        "zeroline": False,
        "tickformat": ",",
        "ticks": "outside",
        "tickcolor": look.soft,
    }
