"""The tab Map: heads by their statistics, regions and rows of one head, and its downloads."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..server.analyses import Analyses, Analysis, checked_head
from ..server.answers import Answer, text_of
from .command import checkpoints, command, several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from freeatten_core.analysis import AttentionMap, ByteScale, Capture
    from freeatten_core.analysis.map.region import Region

__all__ = ["functions"]

MOST_CELLS = 1024
SAVED_CELLS = 256
STATE_CHARACTERS = 500
PREVIEWED = 256
"""Cells along a preview at most: a third of a second at 32k tokens."""


def functions(analyses: Analyses) -> list[Callable[..., Answer]]:
    """What the page can call."""
    maps = _Maps(analyses)
    return [
        *(maps.heads, maps.thumbnails, maps.open_map, maps.preview, maps.region, maps.row),
        *(maps.view_command, maps.page, maps.cells),
    ]


class _Maps:
    """Answers about the maps of analyses."""

    def __init__(self, analyses: Analyses) -> None:
        self.analyses = analyses

    def heads(self, id: str) -> Answer:
        """Every head with its means."""
        from freeatten_core.analysis import head_table

        table = head_table(self.analyses.get(id).capture)
        return {
            "note": table.note,
            "heads": [
                {"layer": each.layer, "head": each.head, "values": _numbers(each.values)}
                for each in table
            ],
        }

    def thumbnails(self, id: str) -> Answer:
        """A small picture of every head."""
        found, capture = self.analyses.thumbnails(id), self.analyses.get(id).capture

        def reach(layer: int) -> int:
            """Cells before its own that a row sees at most."""
            window = capture.layer(layer).window or capture.length
            return math.ceil(window * found.side / capture.length)

        return {
            "side": found.side,
            "rows": found.rows,
            "scale": _ends(found.scale),
            "heads": [
                {"layer": layer, "head": head, "codes": _text(codes), "reach": reach(layer)}
                for layer, heads in found.codes.items()
                for head, codes in enumerate(heads)
            ],
        }

    def open_map(self, id: str, layer: int, head: int) -> Answer:
        """What the page must know of a map before it asks for regions."""
        from freeatten_core.figures.styles import style_of

        found = self.analyses.map(id, layer, head, far_view=False)
        capture = self.analyses.get(id).capture
        return {
            "label": style_of(capture.label).label.replace("<br>", " "),
            "queryLength": found.query_length,
            "keyLength": found.key_length,
            "scale": _ends(found.scale),
            "pool": found.pool,
            "trainLength": capture.train_length,
            "window": found.problem.window,
            "kind": "weights",
            "base": found.base,
        }

    def preview(self, id: str, layer: int, head: int, cells: int) -> Answer:
        """The whole map from a few of its rows; nothing where it is there in full."""
        found = self.analyses.map(id, layer, head, far_view=False)
        cells = _cells(cells)
        if found.has_far_view:
            return {"of": None}
        return {**_region(found.preview(min(cells, PREVIEWED))), "of": found.base}

    def region(
        self, id: str, layer: int, head: int, q0: int, q1: int, k0: int, k1: int, cells: int
    ) -> Answer:
        """A region as bytes."""
        found = self.analyses.map(id, layer, head, far_view=False)
        if found.needs_far_view(q0, q1, k0, k1, _cells(cells)):
            found = self.analyses.map(id, layer, head)
        return _region(found.region(q0, q1, k0, k1, _cells(cells)))

    def row(self, id: str, layer: int, head: int, query: int) -> Answer:
        """The exact weights of all keys that a query sees."""
        found = self.analyses.map(id, layer, head, far_view=False)
        query = _query(found, query)
        weights = found.weights(query, query + 1, 0, found.key_length)[0, : query + 1]
        return {"weights": _text(weights.float().cpu().numpy()), "zeros": _has_zeros(found)}

    def view_command(
        self, ids: list[str], layer: int, head: int, q0: int, q1: int, k0: int, k1: int
    ) -> Answer:
        """The command that shows the map in a terminal; several are one page."""
        found = several(self.analyses, ids)
        layer, head = checked_head(found[0].capture, layer, head)
        words = [*checkpoints(self.analyses, found), "--layer", str(layer), "--head", str(head)]
        words += ["--query", _range("query", q0, q1, found), "--key", _range("key", k0, k1, found)]
        words += ["--html", "map.html"] if len(found) > 1 else []
        return {"command": command("map", words, self.analyses, found[0])}

    def page(self, ids: list[str], layer: int, head: int, state: str) -> Answer:
        """The maps of a head as one page that needs no server, with the view that is open."""
        from freeatten_core.analysis.map.attention_map import finest
        from freeatten_core.mapview import HeadMap, render_page

        found = several(self.analyses, ids)
        where = f"layer {layer}, head {head}"
        maps = [self.analyses.map(id, layer, head) for id in ids]
        items = [
            HeadMap(
                each.capture.label,
                attention.to_payload(finest(attention)),
                head=where,
                train_length=each.capture.train_length,
            )
            for each, attention in zip(found, maps, strict=True)
        ]
        first = found[0].capture
        words = [*checkpoints(self.analyses, found), "--layer", str(layer), "--head", str(head)]
        text = render_page(
            items,
            f"{', '.join(item.name for item in items)}: {where}",
            tokens=first.labels(0, first.length),
            about=f"{first.length:,} tokens of {found[0].text}",
            command=command("map", [*words, "--html", "map.html"], self.analyses, found[0]),
            state=text_of("state", state, STATE_CHARACTERS),
        )
        return {"page": text}

    def cells(
        self, ids: list[str], layer: int, head: int, q0: int, q1: int, k0: int, k1: int
    ) -> Answer:
        """A region of every map, a line a cell: model, query, token, key, token, cell, weight."""
        found = several(self.analyses, ids)
        maps = [self.analyses.map(id, layer, head) for id in ids]
        lines = [
            [each.capture.label, *cell]
            for each, attention in zip(found, maps, strict=True)
            for cell in _lines_of(each.capture, attention.region(q0, q1, k0, k1, SAVED_CELLS))
        ]
        return {"lines": lines}


def _lines_of(capture: Capture, region: Region) -> list[list[Any]]:
    """The visible cells of a region, each with the tokens that it begins with."""
    queries, keys = (
        {at: capture.labels(at, at + 1)[0] for at in edges[:-1].tolist()}
        for edges in (region.query_edges(), region.key_edges())
    )
    return [
        [query, queries[query], key, keys[key], region.cell, float(f"{weight:.6g}")]
        for query, key, weight in region.visible_cells()
    ]


def _range(name: str, start: Any, stop: Any, found: list[Analysis]) -> str:
    from freeatten_core.basics.checks import check_range

    start, stop = check_range(name, start, stop, max(each.capture.length for each in found))
    return f"{start}:{stop}"


def _query(found: AttentionMap, query: Any) -> int:
    from freeatten_core.basics.checks import check_whole

    return check_whole("query", query, 0, found.query_length - 1)


def _region(found: Region) -> Answer:
    rows, columns = found.codes.shape
    return {
        "codes": _text(found.codes),
        "rows": rows,
        "columns": columns,
        "cell": found.cell,
        "query_start": found.query_start,
        "key_start": found.key_start,
    }


def _cells(cells: Any) -> int:
    from freeatten_core.basics.checks import check_whole

    return check_whole("cells", cells, 1, MOST_CELLS)


def _ends(scale: ByteScale) -> dict[str, float]:
    """log2 of the weights that the least and the largest byte stand for."""
    return {"floor": scale.floor_log2, "top": scale.top_log2}


def _has_zeros(attention: AttentionMap) -> bool:
    """Whether a weight of 0 is exactly that, and not one that float32 cannot hold."""
    return attention.variant.sharpen is not None or attention.variant.positivity == "relu"


def _text(array: NDArray[Any] | NDArray[np.uint8]) -> str:
    """The bytes of an array, little-endian."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(little.tobytes()).decode("ascii")


def _numbers(values: Mapping[Any, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
