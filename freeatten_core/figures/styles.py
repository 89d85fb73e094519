"""How a variant looks, in every output.

Colours, dashes and markers, the terminal's too, are defined here once.
"""

from __future__ import annotations

import html
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from freeatten_core.results.format import Entry, row_names
from freeatten_core.variants.stages import Stages

from .colours import DARK, LIGHT, shade

__all__ = ["STEPS", "STYLES", "Style", "markup", "row_labels", "row_styles", "style_of"]


@dataclass(frozen=True)
class Style:
    """How a variant looks everywhere; the colours are legible on white and on black."""

    label: str
    color: str
    dash: str
    marker: str
    sign: str
    """The marker of charts in a terminal."""


STYLES: Mapping[str, Style] = {
    "softmax": Style("Softmax (standard)", "#d55e00", "solid", "circle", "●"),
    "softmax+yarn": Style("Softmax + YaRN", "#c0569b", "dash", "square", "■"),
    "softmax-ls": Style("Softmax + length scale", "#009e73", "dashdot", "diamond", "◆"),
    "lssar:p=15": Style(
        "Softplus + re-weighting<br>(LSSAR p=15)", "#0a7bc4", "solid", "triangle-up", "▲"
    ),
    "lssar:p=3": Style("lssar:p=3", "#7a6fd0", "dot", "triangle-down", "▼"),
    "lssa": Style("lssa", "#2a9fd6", "longdash", "circle-open", "○"),
    "sigmoid": Style("sigmoid", "#9a7b1c", "dot", "square-open", "□"),
    "relu": Style("relu", "#7f7f7f", "longdashdot", "diamond-open", "◇"),
    "softmax-r:p=15": Style("softmax-r:p=15", "#b0472f", "dot", "x", "x"),
    "softmax-ls-r:p=15": Style("softmax-ls-r:p=15", "#3b8f5a", "dot", "cross", "+"),
    "softplus": Style("softplus", "#5b84b1", "dash", "triangle-up-open", "△"),
    "softplus-r:p=15": Style("softplus-r:p=15", "#6b77c4", "dashdot", "triangle-down-open", "▽"),
    "stick-breaking:output=gated": Style(
        "Stick-breaking<br>+ gated output", "#8a3ffc", "solid", "hexagon", "◎"
    ),
    "stick-breaking": Style("Stick-breaking", "#a07be0", "dash", "hexagon", "◎"),
    "cosine:s=128": Style("cosine:s=128", "#4d8f6f", "dash", "diamond-open", "◇"),
    "off-by-one": Style("off-by-one", "#c97b4a", "dot", "circle-open", "○"),
    "softpick": Style("softpick", "#a8763e", "dashdot", "triangle-left", "◁"),
    "entmax15": Style("entmax15", "#5f8fa8", "longdash", "triangle-right", "▷"),
    "lssa-count": Style("lssa-count", "#8a8f3c", "dashdot", "star", "*"),
    "softmax:position=alibi": Style("Softmax + ALiBi", "#b86f9e", "dash", "triangle-left", "◁"),
    "softmax:position=none": Style("Softmax without positions", "#8f5a4a", "dot", "pentagon", "◈"),
    "softmax:position=clex": Style("Softmax + CLEX", "#4f7fb0", "dash", "diamond", "◆"),
    "softmax:position=drope": Style("Softmax + DroPE", "#a3653f", "longdash", "cross", "+"),
    "softmax:position=pope": Style("Softmax + PoPE", "#6f8f3f", "dashdot", "hexagon", "◎"),
    "softmax:gate=forget:position=none": Style(
        "Forgetting attention (FoX)", "#3f8fb5", "longdashdot", "star", "☆"
    ),
    "softmax:scale=log-n": Style("SSMax", "#c4823f", "dash", "pentagon", "◈"),
    "softmax:scale=log-n-bias": Style("SSMax with bias", "#a5672f", "dot", "square-open", "□"),
    "softmax:heads=difference": Style("Diff attention", "#6f6fb0", "dot", "x", "x"),
    "softmax:dilate=64:position=none": Style("RegularGPT", "#7d8a4a", "longdash", "cross", "+"),
    "off-by-one:sink=learned": Style("Softmax + sink", "#b35f3f", "dash", "diamond-open", "◇"),
    "entmax15:scale=adaptive:position=alibi/none": Style(
        "ASEntmax", "#4f7fa0", "dashdot", "star", "☆"
    ),
}

_OTHER_COLOR = "#8c6d8c"


@dataclass(frozen=True)
class _Modified:
    """How a modifier changes the look of its variant."""

    turn: float
    """Degrees of hue."""
    lightness: float
    dash: str
    marker: str
    sign: str


_MODIFIED = {
    "rerope": _Modified(25, LIGHT, "dash", "star", "☆"),
    "window": _Modified(-25, DARK, "dot", "square-open", "□"),
    "yarn": _Modified(-50, LIGHT, "dashdot", "square", "■"),
    "align": _Modified(50, DARK, "longdash", "x", "x"),
    "align:by=entropy": _Modified(50, LIGHT, "longdashdot", "cross", "+"),
    "pi": _Modified(-12, LIGHT, "dot", "triangle-left", "◁"),
    "ntk": _Modified(25, DARK, "dashdot", "triangle-right", "▷"),
    "dynamic-ntk": _Modified(-50, DARK, "longdashdot", "pentagon", "◈"),
    "clex-start": _Modified(-12, DARK, "dash", "hexagon", "◎"),
    "logn": _Modified(12, DARK, "dash", "diamond-open", "◇"),
    "infoscale": _Modified(-25, LIGHT, "longdash", "circle-open", "○"),
    "temper": _Modified(12, LIGHT, "dot", "triangle-up-open", "△"),
    "swap": _Modified(75, LIGHT, "longdashdot", "hexagon", "◎"),
    "swap:to=lssar:p=3": _Modified(75, DARK, "dot", "triangle-down", "▼"),
}
"""A row with a modifier takes a hue near its variant's: rows of one variant stay a family."""

_SYMBOLS = (
    ("circle", "●"),
    ("square", "■"),
    ("diamond", "◆"),
    ("triangle-up", "▲"),
    ("triangle-down", "▼"),
    ("circle-open", "○"),
    ("square-open", "□"),
    ("diamond-open", "◇"),
    ("triangle-up-open", "△"),
    ("triangle-down-open", "▽"),
    ("star", "☆"),
    ("triangle-left", "◁"),
    ("triangle-right", "▷"),
    ("hexagon", "◎"),
    ("pentagon", "◈"),
    ("x", "x"),
    ("cross", "+"),
)
_SIGNS = dict(_SYMBOLS)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


_STEPS: Mapping[Stages, tuple[str, str, str]] = {
    Stages("dot", "exp", "l1", 3): ("softmax-r:p=15", "longdash", "square"),
    Stages("dot", "softplus", "l1", 3): ("softplus-r:p=15", "longdash", "square-open"),
    Stages("length-cosine", "exp", "l1", 3): ("softmax-ls-r:p=15", "longdash", "diamond-open"),
    Stages("length-cosine", "exp", "count"): ("softmax-ls", "dot", "star"),
    Stages("dot-log-n", "sigmoid", "l1"): ("sigmoid", "dash", "square"),
    Stages("dot", "relu", "l1"): ("relu", "dash", "diamond"),
    Stages("dim-cosine", "exp", "l1"): ("softmax-ls", "dash", "triangle-left"),
    Stages("count-cosine", "exp", "l1"): ("softmax-ls", "longdash", "triangle-right"),
    Stages("dim-cosine", "softplus", "l1"): ("lssa", "dash", "triangle-left"),
    Stages("count-cosine", "softplus", "l1"): ("lssa", "dot", "triangle-right"),
    Stages("dim-cosine", "softplus", "l1", 15): ("lssar:p=15", "dash", "triangle-left"),
    Stages("count-cosine", "softplus", "l1", 15): ("lssar:p=15", "longdash", "triangle-right"),
}
"""The variant one step away, whose colour each keeps, its dash and its marker."""

_SCORES = {
    "dot": "q·k/√D",
    "dot-log-n": "q·k/√D − log N",
    "length-cosine": "log D · log N · cos",
    "dim-cosine": "log D · cos",
    "count-cosine": "log N · cos",
}


def _label(stages: Stages) -> str:
    """Its name, or its formula where it has none."""
    if not str(stages).startswith("stages:"):
        return str(stages)
    divisor = {"l1": "sum", "count": "N"}[stages.normalise]
    power = "" if stages.sharpen is None else f", p={stages.sharpen}"
    return f"{stages.positivity}({_SCORES[stages.score]}) / {divisor}{power}"


STEPS = {
    str(stages): Style(_label(stages), STYLES[other].color, dash, marker, _SIGNS[marker])
    for stages, (other, dash, marker) in _STEPS.items()
}
"""The cells of the ablation cube that nothing else shows."""


def style_of(variant: str) -> Style:
    """The style of a canonical name; one that the tables lack goes by its name."""
    known = STYLES.get(variant) or STEPS.get(variant)
    if known is not None:
        return known
    base, _, modifiers = variant.partition("+")
    color = style_of(base).color if modifiers else _OTHER_COLOR
    chosen = zlib.crc32(variant.encode())  # the same in every figure, and unlike its neighbour
    change = _MODIFIED.get(modifiers) or _MODIFIED.get(modifiers.split(":")[0])
    if change is None:
        marker, sign = _SYMBOLS[chosen % len(_SYMBOLS)]
        lightness = LIGHT if base not in STYLES else (DARK, LIGHT)[chosen % 2]
        turn = chosen % 12 * 30 if base not in STYLES else chosen % 7 * 20 - 60
        change = _Modified(turn, lightness, _DASHES[chosen % len(_DASHES)], marker, sign)
    color = shade(color, change.turn, change.lightness)
    return Style(markup(variant), color, change.dash, change.marker, change.sign)


def row_styles(rows: Sequence[Entry]) -> list[Style]:
    """The styles of a chart's rows; of two alike, as of one variant trained twice, one changes."""
    found: list[Style] = []
    for row in rows:
        style = usual = style_of(row["variant"])
        again = sum(row["variant"] == other["variant"] for other in rows[: len(found)])
        if again:
            turn, lightness = 40 * again, (LIGHT, DARK)[again % 2]
            dash = _DASHES[(_DASHES.index(usual.dash) + again) % len(_DASHES)]
            style = replace(usual, color=shade(usual.color, turn, lightness), dash=dash)
        if any(style.sign == other.sign and (again or _alike(style, other)) for other in found):
            marker, sign = _free_symbol([*found, usual])
            style = replace(style, marker=marker, sign=sign)
        found.append(style)
    return found


def _alike(one: Style, other: Style) -> bool:
    return (one.color, one.dash) == (other.color, other.dash)


def _free_symbol(taken: Sequence[Style]) -> tuple[str, str]:
    """One that no row has, as long as there are enough."""
    signs = {style.sign for style in taken}
    free = [symbol for symbol in _SYMBOLS if symbol[1] not in signs]
    return free[0] if free else _SYMBOLS[len(taken) % len(_SYMBOLS)]


def markup(text: str) -> str:
    """A name, which can hold any character, in Plotly's markup."""
    return html.escape(text, quote=False)


def row_labels(rows: Sequence[Entry]) -> list[str]:
    """Human names of rows, in Plotly's markup."""
    return [
        style_of(row["variant"]).label + markup(name.removeprefix(row["variant"]))
        for row, name in zip(rows, row_names(rows), strict=True)
    ]
