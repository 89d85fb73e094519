"""Every variant, modifier and option by name with a line each, from the tables that define them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from freeatten_core.basics.assets import assets
from freeatten_core.figures.styles import STEPS, STYLES, style_of
from freeatten_core.models.catalogue import shipped
from freeatten_core.models.format import CONFIG, read_config
from freeatten_core.positions.scalings import Ramp
from freeatten_core.positions.table import POSITIONS
from freeatten_core.variants.setting import SHORT_NAMES
from freeatten_core.variants.stages import COSINE_SCALE, P_DEFAULT, P_MAX, P_MIN, stages_of
from freeatten_core.variants.variant import (
    MODIFIERS,
    PLAIN,
    SHARPENED,
    SOURCES,
    AlignBy,
    Variant,
)

__all__ = ["glossary"]

SCHEMA = 2
STAGES: Mapping[str, Mapping[str, str]] = {
    "score": {
        "dot": "q·k / √D",
        "length-cosine": "log D · log N · cos(q, k)",
        "dim-cosine": "log D · cos(q, k)",
        "count-cosine": "log N · cos(q, k)",
        "cosine": "s · cos(q, k), s given as :s=NUMBER",
        "dot-log-n": "q·k / √D − log N",
    },
    "positivity": {
        "exp": "exp(s)",
        "softplus": "log(1 + exp(s))",
        "sigmoid": "1 / (1 + exp(−s))",
        "relu": "max(s, 0)",
        "softpick": "max(exp(s) − 1, 0)",
        "entmax15": "max(s / 2 − τ, 0)², τ such that the row sums to 1",
    },
    "normalise": {
        "l1": "divided by the sum of the row",
        "off-by-one": "divided by 1 + the sum of the row",
        "absolute": "divided by the sum of |exp(s) − 1|",
        "count": "divided by N, the number of visible keys",
        "none": "left as it is",
        "stick-breaking": "times what the nearer keys leave; the rest goes to the row's own key",
    },
}
"""What the values of a stage compute."""
MODIFIER_OPTIONS: Mapping[str, str] = {
    "align": f"by={'|'.join(get_args(AlignBy))}",
    "swap": "to=VARIANT",
    "yarn": f"ramp={'|'.join(get_args(Ramp))}",
}


def glossary() -> dict[str, Any]:
    """What `freeatten variants --json` prints: lists of plain values, in the order of the tables.

    Returns:
        `variants` (typed, and as in pictures, with stages and source), `modifiers`, `options`,
        `positions` and `stages` (a line for every value), `short_names` and `labels`, what else
        pictures call by another name.
    """
    named = {**PLAIN, **{name: Variant.parse(name) for name in SHARPENED}}
    typed, weights = set(map(str, named.values())), _shipped_variants()
    return {
        "schema": SCHEMA,
        "variants": [
            {
                "name": str(variant),
                "label": _label(str(variant)),
                "score": stages.score,
                "positivity": stages.positivity,
                "normalise": stages.normalise,
                "p": stages.sharpen,
                "source": SOURCES[name],
                "shipped": [each for each in weights if each.split(":")[0] == name],
            }
            for name, variant in named.items()
            for stages in [stages_of(variant.computes)]
        ],
        "modifiers": [
            {"name": f"+{name}", "meaning": meaning, "option": MODIFIER_OPTIONS.get(name)}
            for name, meaning in MODIFIERS.items()
        ],
        "stages": [
            {"stage": stage, "value": value, "meaning": meaning}
            for stage, values in STAGES.items()
            for value, meaning in values.items()
        ],
        "options": _options(),
        "positions": [
            {"name": name, "meaning": kind.meaning, "source": kind.source}
            for name, kind in POSITIONS.items()
        ],
        "short_names": [{"name": name, "variant": long} for name, long in SHORT_NAMES.items()],
        "labels": [
            {"name": name, "label": _label(name)}
            for name in (*STYLES, *STEPS)
            if _label(name) != name and name not in typed
        ],
    }


def _options() -> list[dict[str, str]]:
    sharpened = ", ".join(SHARPENED)
    return [
        {
            "option": ":p=POWER",
            "meaning": f"of {sharpened}: the power of the re-weighting, {P_MIN} to {P_MAX}; "
            f"{P_DEFAULT} when left out",
        },
        {
            "option": ":s=NUMBER",
            "meaning": "of cosine: what the cosine is multiplied with; "
            f"{COSINE_SCALE:g} when left out",
        },
        *_trained_options(),
        {
            "option": "stages:score=…:positivity=…:normalise=…",
            "meaning": "any other combination of stages; with :p= it is sharpened",
        },
        {
            "option": "FILE.py:FUNCTION",
            "meaning": "a Python function of one's own in the place of the stages: docs/own.md",
        },
    ]


def _trained_options() -> list[dict[str, str]]:
    """What a model is trained with around its attention."""
    return [
        {
            "option": ":position=POSITION",
            "meaning": "trained: how layers and heads know order, in a word of the list of "
            "positions; alibi/none: half the heads of each; rope@128-none: by turns a layer that "
            "sees 128 keys and one that sees all",
        },
        {
            "option": ":gate=forget",
            "meaning": "trained, where rows are divided by their sum: a pair keeps what a learned "
            "gate of every token between leaves of it (arXiv 2503.02130)",
        },
        {
            "option": ":output=gated",
            "meaning": "trained: the heads' outputs times sigmoid(W x) (arXiv 2505.06708)",
        },
        {
            "option": ":scale=log-n",
            "meaning": "trained, on scores q·k: a head's scores times m · log N, m learned (SSMax, "
            "arXiv 2501.19399)",
        },
        {
            "option": ":scale=log-n-bias",
            "meaning": "trained, on scores q·k: times m · log N + b, both learned (as there)",
        },
        {
            "option": ":scale=adaptive",
            "meaning": "trained, on scores q·k: times 1 + softplus(w·x) · log(N + 1)^(2 tanh(u·x)) "
            "of every query's input x, in heads without alibi (ASEntmax, arXiv 2506.16640)",
        },
        {
            "option": ":sink=learned",
            "meaning": "trained, of off-by-one: the score of its one more key, a number a head "
            "(as in GPT-OSS)",
        },
        {
            "option": ":dilate=KEYS",
            "meaning": "trained, of softmax without positions (RegularGPT, arXiv 2305.03796): at "
            "depth d a row sees KEYS keys, KEYS^d apart, each with a learned bias; the layers are "
            "used again at every depth, as many as the text needs",
        },
        {
            "option": ":dilate=KEYS/own",
            "meaning": "trained: the same, and every depth of training has layers of its own",
        },
        {
            "option": ":heads=difference",
            "meaning": "trained: a head is two attentions on the same values, the second, times "
            "sigmoid(w·x), taken from the first (DIFF V2, after arXiv 2410.05258); both are shown, "
            "numbered on",
        },
    ]


def _label(name: str) -> str:
    return style_of(name).label.replace("<br>", " ")


def _shipped_variants() -> list[str]:
    folder = assets() / "checkpoints"
    return [str(read_config(folder / name / CONFIG).variant) for name in shipped()]
