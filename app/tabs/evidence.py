"""What the first screen shows of the inside: stored pictures of heads on one text, and a story.

The text is this project's own writing; `tests/measure/evidence.py` made the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlencode

from freeatten_core.basics.assets import assets
from freeatten_core.figures.styles import row_labels, style_of
from freeatten_core.results.format import Result, count
from freeatten_core.variants.variant import Variant

from ..server.texts import WRITING

__all__ = ["evidence", "story"]

STORY = ("softmax", "lssar:p=15")
NONE = (
    "The models of this result are not shipped with freeatten, so there are no pictures of their "
    "heads."
)


@cache
def _stored() -> dict[str, Any]:
    path = assets() / "results" / "evidence" / "maps.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def evidence(name: str, result: Result) -> dict[str, Any]:
    """Pictures of a result's worst and best row of those that are shipped, with a caption."""
    stored = {(row["variant"], row["checkpoint"]): row for row in _stored()["rows"]}
    known = [
        row
        for row in result["variants"]
        if (row["variant"], row.get("checkpoint")) in stored and row["loss"][-1] is not None
    ]
    if name.startswith(("cube/", "rows/")) or len(known) < 2:
        return {"pictures": [], "caption": NONE}
    ordered = sorted(known, key=lambda row: float(row["loss"][-1]))
    shown = [stored[row["variant"], row["checkpoint"]] for row in (ordered[-1], ordered[0])]
    return {"pictures": [_picture(row, -1) for row in shown], "caption": _caption(shown)}


def _picture(row: Mapping[str, Any], step: int) -> dict[str, Any]:
    found = row["steps"][step]
    return {
        "label": _label(row),
        "where": f"layer {row['layer']}, head {row['head']}",
        "trained": row["train_length"] / found["length"],
        "link": _link([row], found["length"]),
        **{name: found[name] for name in ("codes", "side", "scale")},
    }


def _label(row: Mapping[str, Any]) -> str:
    return row_labels([{"variant": row["variant"]}])[0].replace("<br>", " ")


def _link(rows: Sequence[Mapping[str, Any]], length: int) -> str:
    """Where the app shows the head on the same text."""
    models = [
        row["checkpoint"] + row["variant"].removeprefix(str(Variant.parse(row["variant"]).trained))
        for row in rows
    ]
    head = f"layer {rows[0]['layer']}, head {rows[0]['head']}"
    asked = {"models": ",".join(models), "text": WRITING, "len": length, "seed": 0, "head": head}
    return f"map&{urlencode(asked)}"


def _last_loss(row: Mapping[str, Any], length: int) -> float:
    """The mean loss of the last half of the first `length` tokens."""
    end = length // _stored()["stretch"]
    part = row["loss"][end // 2 : end]
    return float(sum(part) / len(part))


def _share(value: float) -> str:
    return f"{value:.0%}".replace("%", " %") if value < 0.995 else "nearly all"


def _caption(rows: Sequence[Mapping[str, Any]]) -> str:
    """What to see in two pictures, from the numbers behind them."""
    length = rows[0]["steps"][-1]["length"]
    said = [
        f"{_label(row)} has a loss of {_last_loss(row, length):.2f} over the last half, and this "
        f"head gives {_share(row['steps'][-1]['far'])} of its weight to keys farther back than "
        "training ever had"
        for row in rows
    ]
    return (
        f"Of both, the head that looks farthest back, on the same {count(length)} tokens of this "
        f"project's own writing. {'; '.join(said)}. Far back is far from the diagonal."
    )


def story() -> dict[str, Any]:
    """One text read farther and farther: losses, a head of each model, and what it reads."""
    rows = [row for row in _stored()["rows"] if row["variant"] in STORY]
    rows.sort(key=lambda row: STORY.index(row["variant"]))
    lengths = _stored()["lengths"]
    return {
        "stretch": _stored()["stretch"],
        "lengths": lengths,
        "sentences": [_sentence(rows, at) for at in range(len(lengths))],
        "links": [_link(rows, length) for length in lengths],
        "rows": [
            {
                "label": _label(row),
                "color": style_of(row["variant"]).color,
                "loss": row["loss"],
                "effective": row["effective"],
                "pictures": [_picture(row, at) for at in range(len(lengths))],
            }
            for row in rows
        ],
    }


def _sentence(rows: Sequence[Mapping[str, Any]], at: int) -> str:
    """What the step to a length shows, from its numbers."""
    length = rows[0]["steps"][at]["length"]
    losses = [_last_loss(row, length) for row in rows]
    names = [_label(row) for row in rows]
    read = f"{names[0]} reads it at a loss of {losses[0]:.2f}, {names[1]} at {losses[1]:.2f}"
    if length <= rows[0]["train_length"]:
        return f"{count(length)} tokens, as long as in training: over the last half {read}."
    far = [row["steps"][at]["far"] for row in rows]
    return (
        f"{count(length)} tokens, {length // rows[0]['train_length']} times as many: over the last "
        f"half {read}. This head of the first gives {_share(far[0])} of its weight to keys farther "
        f"back than training ever had, that of the second {_share(far[1])}."
    )
