"""What the first screen shows, made from results of `freeatten compare`: stored ones, or new."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from freeatten_core.cards import provenance, stored_results
from freeatten_core.checkpoint import assets
from freeatten_core.figures import Theme, comparison_figure, comparison_title, row_labels, style_of
from freeatten_core.wording import (
    Result,
    Row,
    caveat,
    count,
    number,
    signed,
    source_name,
    verdict_text,
    with_half_width,
)

MAIN = ("softmax", "softmax+yarn", "softmax-ls", "lssar:p=15")
LOSS_CAPTION = "Mean loss, nats per token (± half of the 95 % interval)"
DELTA_CAPTION = "Δ: the loss minus that of the same model that forgets"
BROKEN = 0.5
"""Nats per token: a loss that rises by more is called broken."""
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "wide": {"width": 1100},
    "stacked": {"width": 640, "stacked": True},
    "phone": {"width": 340, "stacked": True, "labels": False},
}
"""Arguments of the figure by the page's layout; the page stretches each to its own width."""
THEMES: tuple[Theme, ...] = ("light", "dark")


def comparisons() -> dict[str, Result]:
    """The stored results of `freeatten compare`."""
    stored = stored_results(assets() / "results")
    return {name: result for name, result in stored.items() if "control" in result}


def label(result: Result) -> str:
    times = max(result["lengths"]) // result["train_length"]
    return f"{source_name(result['text']['source'])}, to {times}×"


def chosen(result: Result) -> tuple[Result, Result]:
    """The four rows of the first screen, and all."""
    rows = [row for row in result["variants"] if row["variant"] in MAIN]
    return {**result, "variants": rows or result["variants"]}, result


def comparison(result: Result) -> dict[str, Any]:
    """A stored result: its rows of the first screen, and all."""
    main, whole = chosen(result)
    return _about(main) | {"main": _shown(main), "all": _shown(whole)}


def scored(result: Result) -> dict[str, Any]:
    """A new result, whose rows were chosen one by one."""
    return _about(result) | {"main": _shown(result)}


def _about(result: Result) -> dict[str, Any]:
    return {
        "title": comparison_title(result),
        "answer": answer(result),
        "provenance": provenance(result).removesuffix(f": `{result['command']}`"),
        "command": result["command"],
    }


def _shown(result: Result) -> dict[str, Any]:
    return {
        "figures": {
            theme: {name: _figure(result, theme, options) for name, options in LAYOUTS.items()}
            for theme in THEMES
        },
        "lines": _lines(result),
        "tables": [
            _table(result, "loss", "ci95", LOSS_CAPTION, number),
            _table(result, "delta", "delta_ci95", DELTA_CAPTION, signed),
        ],
    }


def _figure(result: Result, theme: Theme, options: Mapping[str, Any]) -> Any:
    figure = comparison_figure(result, title="", theme=theme, **options)
    figure.update_layout(template="none", dragmode=False)
    return json.loads(cast(str, figure.to_json()))


def _lines(result: Result) -> list[dict[str, Any]]:
    """What became of each variant, a line each; the legend of the charts too."""
    lines = []
    for row, label in zip(result["variants"], _labels(result), strict=True):
        style, but = style_of(row["variant"]), caveat(result, row)
        lines.append(
            {
                "label": label,
                "color": style.color,
                "dash": style.dash,
                "sign": style.sign,
                "loss": " → ".join(number(loss, 2) for loss in _ends(row["loss"])),
                "delta": signed(row["delta"][-1], 2),
                "verdict": _verdict(row, but, result["texts"]),
                "kind": "" if but else row["verdict"],
            }
        )
    return lines


def _ends(losses: Sequence[float | None]) -> Sequence[float | None]:
    """The first and the last, where there are two."""
    return losses if len(losses) == 1 else (losses[0], losses[-1])


def _verdict(row: Row, but: str, texts: int) -> str:
    """One text has no interval, and no verdict without one; what it leaves out is said anyway."""
    if texts == 1:
        return but.removeprefix("yet ")
    return ", ".join(filter(None, [verdict_text(row), but]))


def answer(result: Result) -> str:
    """Who breaks and who holds, from the data."""
    longest, trained = count(max(result["lengths"])), count(result["train_length"])
    if longest == trained:
        return (
            f"Read at {trained} tokens only, the training length: a longer text shows what "
            "happens beyond it."
        )
    rises = {
        label: row["loss"][-1] - row["loss"][0]
        for row, label in zip(result["variants"], _labels(result), strict=True)
        if row["loss"][0] is not None and row["loss"][-1] is not None
    }
    broken = [label for label, rise in rises.items() if rise > BROKEN]
    held = [label for label, rise in rises.items() if rise <= BROKEN]
    parts = []
    if broken:
        least = min(rises[label] for label in broken)
        more = " or more" if len(broken) > 1 else ""
        parts.append(f"At {longest} tokens {_listed(broken)} lost {least:.1f} nats{more}")
    if held:
        most = max(abs(rises[label]) for label in held)
        start = "" if parts else f"At {longest} tokens "
        parts.append(f"{start}{_listed(held)} stayed within {most:.2f} of the loss at {trained}")
    single = " One text has no interval, and so no verdict." if result["texts"] == 1 else ""
    return f"{'; '.join(parts)}. Δ tells whether the longer text helps: below 0 it does.{single}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _table(
    result: Result, key: str, interval: str, caption: str, form: Callable[..., str]
) -> dict[str, Any]:
    rows = []
    for label, row in zip(_labels(result), result["variants"], strict=True):
        pairs = zip(row[key], row[interval], strict=True)
        texts = [with_half_width(form(value), pair if value else None) for value, pair in pairs]
        rows.append([label, *texts])
    return {"caption": caption, "header": _headings(result["lengths"]), "rows": rows}


def _labels(result: Result) -> list[str]:
    return [label.replace("<br>", " ") for label in row_labels(result["variants"])]


def _headings(lengths: Sequence[int]) -> list[str]:
    return [f"{count(length)} tokens" for length in lengths]


def paper_table() -> dict[str, Any]:
    """What the paper reports, as a table."""
    paper = json.loads((assets() / "results" / "paper" / "losses.json").read_text(encoding="utf-8"))
    return {
        "caption": f"{paper['source']}. {paper['model']}; {paper['measure']}.",
        "header": _headings(paper["lengths"]),
        "rows": [
            [row["name"], *(number(loss, 2) for loss in row["loss"])] for row in paper["rows"]
        ],
    }
