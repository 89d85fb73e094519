"""What the first screen shows, made from results of `freeatten compare`: stored ones, or new."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from freeatten_core.basics.assets import assets
from freeatten_core.figures.comparison import comparison_drawing, comparison_title
from freeatten_core.figures.styles import row_labels, row_styles
from freeatten_core.results.ceiling import ceiling_text, share_lengths, share_text
from freeatten_core.results.comparison import no_language_text, provenance, verdict_text
from freeatten_core.results.cube import CUBE
from freeatten_core.results.format import (
    CONTROLS,
    Entry,
    Result,
    compared_key,
    count,
    declares,
    number,
    repeats_line,
    row_names,
    signed,
    source_name,
    with_half_width,
)
from freeatten_core.variants.stages import stages_of
from freeatten_core.variants.variant import Variant

from .drawings import drawings
from .evidence import evidence

if TYPE_CHECKING:
    from freeatten_core.figures.canvas import Drawing

__all__ = [
    "FIRST",
    "Kind",
    "answer",
    "best_changes",
    "choices",
    "chosen",
    "comparison",
    "corners",
    "first_answer",
    "kind_of",
    "label",
    "paper_table",
    "scored",
]

MAIN = ("softmax", "softmax+yarn", "softmax-ls", "lssar:p=15", "stick-breaking:output=gated")
FIRST = "stdlib-16x"
"""The stored result that a page opens with."""
FEW = 5
"""Rows that a page draws first where nothing else says which."""
MANY = 9
"""Of more rows, the chart shows those that are ticked."""
NUMBERS = "tables", "values"
"""Parts of a result that have all rows, whichever are drawn."""
SOURCES = {"books-heldout": "Novels kept from training (books-heldout)"}
"""Folders that say nothing to whoever has not made them."""
LOSS_CAPTION = "Mean loss, nats per token (± half of the 95 % interval)"
DELTA_CAPTION = "Δ: the loss minus that of the same model that forgets"
BITS_CAPTION = "Bits per byte, over the bytes that every row scored"
BROKEN = 0.5
"""Nats per token: a loss that rises by more is called broken, and so is marked a Δ above it."""
BROKEN_BITS = 0.2
"""The same in bits per byte."""
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "wide": {"width": 1100},
    "stacked": {"width": 640, "stacked": True},
    "phone": {"width": 340, "stacked": True, "labels": False},
}
"""Arguments of the figure by the page's layout; the page stretches each to its own width."""
LEGENDED = {name: {**given, "labels": False} for name, given in LAYOUTS.items()}
"""The same where lines come and go: the list below the chart names them."""


@dataclass(frozen=True)
class Kind:
    """Stored results that belong together, in a folder of their own."""

    label: str
    about: str
    """What its rows have in common, after the answer."""
    first: Callable[[Sequence[Entry]], Sequence[str]]
    """The variants of the first screen."""


def best_changes(rows: Sequence[Entry]) -> list[str]:
    """Every trained variant, and its change with the lowest loss at the longest length.

    A variant that every change makes worse stands alone.
    """
    best: dict[Variant, Entry] = {}
    for row in rows:
        trained = Variant.parse(row["variant"]).trained
        best[trained] = min(best.get(trained, row), row, key=lambda each: float(each["loss"][-1]))
    names = {str(trained) for trained in best} | {row["variant"] for row in best.values()}
    return [row["variant"] for row in rows if row["variant"] in names]


def corners(_: Sequence[Entry]) -> list[str]:
    """Every score and positivity of the cube, without re-weighting and with the sharpest."""
    return [name for name in CUBE if stages_of(Variant.parse(name).computes).sharpen != 3]


def lowest(rows: Sequence[Entry]) -> list[str]:
    """The rows with the lowest losses at the longest length, and softmax beside them."""
    ranked = sorted(rows, key=lambda row: float(row["loss"][-1]))
    return [row["variant"] for row in ranked[:FEW]] + ["softmax"]


COMPARED = Kind("", "", lambda _: MAIN)
NOT_SHIPPED = (
    "One run of each by one recipe, whose weights are not shipped: compare these models with each "
    "other, not with the shipped ones."
)
KINDS: Mapping[str, Kind] = {
    "systems": Kind(
        "Inference-time changes",
        "The shipped checkpoints as they are and changed without training; of each, the change "
        "with the lowest loss is drawn first.",
        best_changes,
    ),
    "far": Kind(
        "Inference-time changes to 64×",
        "Rows that hold to 16×, as they are and changed without training, on the few texts that "
        "are long enough.",
        lambda rows: [row["variant"] for row in rows if not row["variant"].endswith("+yarn")],
    ),
    "ceiling": Kind(
        "Softmax trained at 4,096 tokens",
        "Beside the shipped checkpoints, which were trained at 512: what a longer training gains.",
        lambda rows: [row["variant"] for row in rows],
    ),
    "models": Kind(
        "Models that people have",
        "Bits per byte compare between all rows, nats between rows of one tokenizer alone; lengths "
        "are each model's own tokens, and Δ counts from its restart.",
        lambda rows: [row["variant"] for row in rows],
    ),
    "controls": Kind(
        "Controls",
        "CLEX and its controls, trained on from the shipped softmax for 500 steps, beside what "
        "needs no training; CosScale with InfoScale; or a temperature by position (+temper), which "
        "needs no training. Weights that were trained for these are not shipped.",
        lambda rows: [row["variant"] for row in rows],
    ),
    "rows/full": Kind(
        "Rows by the full recipe",
        NOT_SHIPPED,
        lowest,
    ),
    "rows/gates": Kind("The method beside a gate, by the full recipe", NOT_SHIPPED, lowest),
    "rows/named": Kind("More names by the short recipe", NOT_SHIPPED, lowest),
    "rows/runs": Kind("Rows by the short recipe", NOT_SHIPPED, lowest),
    "rows/shipped": Kind("Candidates for a shipped row", NOT_SHIPPED, lowest),
    "cube": Kind(
        "Ablation cube",
        "One run of each by one shorter recipe: compare these models with each other, not with "
        "the shipped ones.",
        corners,
    ),
}


def kind_of(name: str) -> Kind:
    """What a stored result is of, by its name."""
    folder = name.rpartition("/")[0]
    if folder not in KINDS and folder.startswith("rows/"):
        return Kind(f"Rows that are not shipped, {folder.partition('/')[2]}", NOT_SHIPPED, lowest)
    return KINDS.get(folder, COMPARED)


def choices(results: Mapping[str, Result]) -> list[dict[str, str]]:
    """Stored results to choose from, the first one to be shown first."""
    order = sorted(results, key=lambda name: name != FIRST)
    return [{"id": name, "label": label(name, results[name])} for name in order]


def label(name: str, result: Result) -> str:
    """A stored result as the page offers it."""
    if kind := kind_of(name).label:
        return f"{kind}, {name.rpartition('/')[2]}"
    times = max(result["lengths"]) // result["train_length"]
    source = result["text"]["source"]
    return f"{SOURCES.get(source) or source_name(source)}, to {times}×"


def chosen(name: str, result: Result) -> Result:
    """The rows of the first screen."""
    wanted = kind_of(name).first(result["variants"])
    rows = [row for row in result["variants"] if row["variant"] in wanted]
    return {**result, "variants": rows or result["variants"]}


def comparison(name: str, result: Result) -> dict[str, Any]:
    """A stored result: its rows of the first screen, and all where there are more.

    Where there are many, `picked` names those of the first screen, whose tables are those of all.
    """
    main = chosen(name, result)
    about = _about(main) | {"answer": first_answer(name, result)}
    about["evidence"] = evidence(name, result)
    if len(main["variants"]) == len(result["variants"]):
        return about | {"main": _shown(main)}
    if len(result["variants"]) <= MANY:
        return about | {"main": _shown(main), "all": _shown(result)}
    whole = _shown(result, _legended)
    about["picked"] = row_names(main["variants"])
    drawn = {part: each for part, each in _shown(main).items() if part not in NUMBERS}
    return about | {"main": drawn, "all": whole}


def scored(result: Result) -> dict[str, Any]:
    """A new result, whose rows were chosen one by one, and which of its files count once."""
    about = _about(result)
    said = [f"{line}." for line in repeats_line(result["text"])]
    about["answer"] = " ".join([about["answer"], *said])
    return about | {"main": _shown(result)}


def first_answer(name: str, result: Result) -> str:
    """Who breaks and who holds on the first screen of a stored result."""
    return " ".join(filter(None, [answer(chosen(name, result)), kind_of(name).about]))


def _about(result: Result) -> dict[str, Any]:
    return {
        "title": comparison_title(result),
        "answer": answer(result),
        "provenance": provenance(result).removesuffix(f": `{result['command']}`"),
        "command": result["command"],
    }


def _labelled(result: Result) -> dict[str, Any]:
    return drawings(partial(comparison_drawing, result), LAYOUTS)


def _legended(result: Result) -> dict[str, Any]:
    """Lines that come and go: their loss has the scale of those that are there."""

    def draw(**given: Any) -> Drawing:
        drawing = comparison_drawing(result, **given)
        axis = {key: value for key, value in drawing["layout"]["yaxis"].items() if key != "range"}
        drawing["layout"]["yaxis"] = axis | {"autorange": True}
        return drawing

    return drawings(draw, LEGENDED)


def _shown(result: Result, draw: Callable[[Result], dict[str, Any]] = _labelled) -> dict[str, Any]:
    several = compared_key(result) == "bits_per_byte"
    return {
        "figures": draw(result),
        "lines": _lines(result),
        "tables": [
            *([_table(result, "bits_per_byte", None, BITS_CAPTION, number)] if several else []),
            _table(result, "loss", "ci95", LOSS_CAPTION, number),
            _table(result, "delta", "delta_ci95", DELTA_CAPTION, signed),
            *([_shares(result)] if "ceiling" in result else []),
        ],
        "values": _values(result),
    }


def _lines(result: Result) -> list[dict[str, Any]]:
    """What became of each variant, a line each; the legend of the charts too."""
    lines = []
    rows, key = result["variants"], compared_key(result)
    named = zip(rows, row_names(rows), _labels(result), row_styles(rows), strict=True)
    for row, name, label, style in named:
        lines.append(
            {
                "id": name,
                "label": label,
                "color": style.color,
                "dash": style.dash,
                "sign": style.sign,
                "loss": " → ".join(number(loss, 2) for loss in _ends(row[key])),
                "delta": signed(row["delta"][-1], 2),
                "controls": _controls(row),
                "verdict": verdict_text(row) if result["texts"] > 1 else "",
                "kind": row["verdict"],
                "mark": _mark(row),
            }
        )
    return lines


def _mark(row: Entry) -> str:
    """▼ helps, ▲ hurts, ▲▲ hurts by half a nat or more."""
    if row["verdict"] == "hurts":
        return "▲▲" if row["delta"][-1] >= BROKEN else "▲"
    return "▼" if row["verdict"] == "uses" else ""


def _ends(losses: Sequence[float | None]) -> Sequence[float | None]:
    """The first and the last, where there are two."""
    return losses if len(losses) == 1 else (losses[0], losses[-1])


def _controls(row: Entry) -> str:
    """S and W as a line shows them, behind Δ; empty where neither was measured."""
    found = [(letter, row.get(f"{name}_delta")) for letter, name in CONTROLS.items()]
    return ", ".join(
        f"{letter}\u00a0{signed(value, 2)}" for letter, value in found if value is not None
    )


def answer(result: Result) -> str:
    """Who breaks, who holds and who uses what it reads, from the data."""
    if warning := no_language_text(result):
        return f"{warning}."
    longest, shortest = count(max(result["lengths"])), count(result["lengths"][0])
    if longest == shortest:
        usual = "" if declares(result) else ", the training length"
        return f"Read at {shortest} tokens only{usual}: a longer text shows what happens beyond it."
    key = compared_key(result)
    bits = "" if key == "loss" else " bits per byte"
    limit = BROKEN_BITS if bits else BROKEN
    rises = {
        label: row[key][-1] - row[key][0]
        for row, label in zip(result["variants"], _labels(result), strict=True)
        if row[key][0] is not None and row[key][-1] is not None
    }
    broken = [label for label, rise in rises.items() if rise > limit]
    using = {
        label: row
        for row, label in zip(result["variants"], _labels(result), strict=True)
        if row["verdict"] == "uses"
    }
    held = [label for label, rise in rises.items() if rise <= limit and label not in using]
    parts = []
    if broken:
        least = min(rises[label] for label in broken)
        more = " or more" if len(broken) > 1 else ""
        above = f"{least:.1f}{bits or ' nats'}{more}"
        parts.append(
            f"At {longest} tokens the loss of {_listed(broken)} is {above} above that at {shortest}"
        )
    if held:
        most = max(abs(rises[label]) for label in held)
        start = "" if parts else f"At {longest} tokens "
        parts.append(
            f"{start}{_listed(held)} stayed within {most:.2f}{bits} of the loss at {shortest}"
        )
    if using:
        start = "" if parts else f"At {longest} tokens "
        names = _listed(sorted(using))
        parts.append(f"{start}{names} gained from the longer text ({_beaten([*using.values()])})")
    if len(rises) > 1:
        best, loss = _lowest(result)
        parts.append(f"the lowest loss there is that of {best}, {number(loss, 2)}{bits}")
    single = (
        " One text has no interval, and so no verdict; two are needed."
        if result["texts"] == 1
        else ""
    )
    return (
        f"{'; '.join(parts)}. Δ tells whether the longer text helps: below 0 it does, and use has "
        f"to beat the same model sliding (S) and a window in every layer (W) as well.{single}"
    )


def _beaten(rows: Sequence[Mapping[str, Any]]) -> str:
    """What rows that use their context are below 0 in; not all have a window of their own."""
    windows = [row.get("window_delta") is not None for row in rows]
    if all(windows):
        return "Δ, S and W"
    return "Δ, S and, where there is one, W" if any(windows) else "Δ and S"


def _lowest(result: Result) -> tuple[str, float]:
    """The row with the lowest loss at the longest length, in what rows are compared by."""
    key = compared_key(result)
    losses = {
        label: row[key][-1]
        for row, label in zip(result["variants"], _labels(result), strict=True)
        if row[key][-1] is not None
    }
    best = min(losses, key=losses.__getitem__)
    return best, losses[best]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _table(
    result: Result, key: str, interval: str | None, caption: str, form: Callable[..., str]
) -> dict[str, Any]:
    rows = []
    for label, row in zip(_labels(result), result["variants"], strict=True):
        ranges = [None] * len(row[key]) if interval is None else row[interval]
        pairs = zip(row[key], ranges, strict=True)
        texts = [with_half_width(form(value), pair if value else None) for value, pair in pairs]
        rows.append([label, *texts])
    return {"caption": caption, "header": _headings(result["lengths"]), "rows": rows}


def _shares(result: Result) -> dict[str, Any]:
    """The share of the ceiling's gain that rows reach, of those that have one."""
    lengths = share_lengths(result)
    places = [result["lengths"].index(length) for length in lengths]
    rows = [
        [
            label,
            *(share_text(row["ceiling_share"][at], row["ceiling_share_ci95"][at]) for at in places),
        ]
        for label, row in zip(_labels(result), result["variants"], strict=True)
        if "ceiling_share" in row
    ]
    caption = f"Share of the ceiling's gain, % (95 % interval): {ceiling_text(result)}"
    return {"caption": caption, "header": _headings(lengths), "rows": rows}


def _values(result: Result) -> list[list[Any]]:
    """What was measured, one value a line: measure, variant, tokens, value, low, high, texts."""
    lines: list[list[Any]] = []
    for row, name in zip(result["variants"], row_names(result["variants"]), strict=True):
        none = {"bits_per_byte_ci95": [None] * len(result["lengths"])}
        for measure, interval in _measures(result):
            pairs = zip(result["lengths"], row[measure], (row | none)[interval], strict=True)
            lines += [
                [measure, name, length, value, *(pair or (None, None)), result["texts"]]
                for length, value, pair in pairs
            ]
        for measure in (f"{control}_delta" for control in CONTROLS.values()):
            if row.get(measure) is not None:
                pair = row.get(f"{measure}_ci95") or (None, None)
                lines.append(
                    [measure, name, result["lengths"][-1], row[measure], *pair, result["texts"]]
                )
        for length in share_lengths(result) if "ceiling_share" in row else ():
            at = result["lengths"].index(length)
            share, pair = row["ceiling_share"][at], row["ceiling_share_ci95"][at]
            lines.append(["ceiling_share", name, length, share, *pair, result["texts"]])
    return lines


def _measures(result: Result) -> list[tuple[str, str]]:
    """What the tables have, and what its intervals are called."""
    several = compared_key(result) == "bits_per_byte"
    bits = [("bits_per_byte", "bits_per_byte_ci95")] if several else []
    return [*bits, ("loss", "ci95"), ("delta", "delta_ci95")]


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
