"""What an attention variant is: what it computes, how a model is made around it, its modifiers,
and the grammar of its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import expanded
from freeatten_core.basics.suggestions import closest
from freeatten_core.positions.scalings import Ramp, Scaling

from .setting import (
    OPTIONS,
    PLAIN_SETTING,
    SHORT_NAMES,
    Setting,
    check_setting,
    take_setting,
    usual_setting,
)
from .stages import (
    CHOICES,
    COSINE_SCALE,
    FUNCTION,
    P_DEFAULT,
    P_MAX,
    P_MIN,
    PLAIN_STAGES,
    SHARPENED_STAGES,
    Computed,
    Normalise,
    OwnFunctionName,
    Positivity,
    Score,
    Stages,
)

__all__ = [
    "MODIFIERS",
    "PLAIN",
    "ROTATIONS",
    "SHARPENED",
    "SOURCES",
    "TEMPERATURES",
    "AlignBy",
    "Modifier",
    "Variant",
    "nearest",
    "split_modifiers",
]

AlignBy = Literal["largest", "entropy"]

MODIFIERS: Mapping[str, str] = {
    "pi": "RoPE positions divided by longest / L, linear interpolation (arXiv 2306.15595)",
    "ntk": "RoPE's base raised for the longest length, NTK-aware scaling (described in 2309.00071)",
    "dynamic-ntk": "NTK-aware scaling for each length on its own (described in 2309.00071)",
    "clex-start": "NTK-aware scaling by 2⌈length / L⌉ − 1: where CLEX starts (arXiv 2310.16450)",
    "yarn": "YaRN scaling of RoPE for the longest length asked (arXiv 2309.00071); ramp=dims for "
    "the ramp of the transformers library",
    "rerope": "distances beyond L − 1 rotated as if L − 1 (ReRoPE, Su 2023)",
    "logn": "queries of N > L keys times log N / log L (as in Qwen)",
    "infoscale": "queries of N > L keys, of cosine:s=NUMBER the scores, times √(1 − N^(−2/D)) / "
    "√(1 − L^(−2/D)) (arXiv 2501.08570)",
    "temper": "queries at position i times 1 + 0.1 log(1 + ⌊i / L⌋) (as in Ministral 3)",
    "align": "one temperature for each length, fitted on other text (arXiv 2311.00684)",
    "window": "a row sees its last L keys alone",
    "swap": "another variant's attention on the same weights, to=VARIANT",
}
"""What a modifier does at inference; L is the training length, N the number of visible keys. What
is set for the longest length asked holds at every length; `dynamic-ntk`, `clex-start` and `align`
depend on the length that is read."""

ROTATIONS = (*get_args(Scaling), "rerope")
TEMPERATURES = ("logn", "infoscale", "temper", "align")


@dataclass(frozen=True)
class Modifier:
    """A change to a model at inference, written `+name:key=value` behind a variant's name."""

    name: str
    target: Variant | None = None
    """Of `swap`: the variant whose attention is computed."""
    by: AlignBy = "largest"
    """Of `align`: what is kept as it is at the training length, the mean of the rows' largest
    weights or of their entropies."""
    ramp: Ramp = "turns"
    """Of `yarn`."""

    def __str__(self) -> str:
        if self.name == "swap":
            return f"swap:to={self.target}"
        if self.ramp != "turns":
            return f"{self.name}:ramp={self.ramp}"
        return f"{self.name}:by={self.by}" if self.by != "largest" else self.name


@dataclass(frozen=True, init=False, repr=False)
class Variant:
    """An attention variant; equal stages are equal values.

    What it computes is `computes`, and nothing else of it says so: of a function of one's own no
    score or positivity can be read.
    """

    _trained: Computed
    modifiers: tuple[Modifier, ...]
    """Changes to the *model* at inference, such as `yarn`."""
    setting: Setting
    """What a model of it is trained with around its attention: positions, gates."""

    def __init__(
        self,
        score: Score = "dot",
        positivity: Positivity = "exp",
        normalise: Normalise = "l1",
        sharpen: int | None = None,
        modifiers: tuple[Modifier, ...] = (),
        function: str | None = None,
        scale: float | None = None,
        setting: Setting | None = None,
    ) -> None:
        """A variant from its parts.

        Args:
            score: how a query and a key are compared.
            positivity: the function that makes scores non-negative.
            normalise: what the non-negative scores are divided by.
            sharpen: the power `p` (1 to 64) of the re-weighting, or None for none. Only with `l1`.
            modifiers: changes to the *model* at inference, such as `yarn`.
            function: in the place of all stages, `file.py:function`, a Python function of one's
                own (see `freeatten_core.ops.definitions.own_function`).
            scale: what the score `cosine` multiplies cos(q, k) with.
            setting: positions and gates of a model that is trained with it; None for the usual.

        Raises:
            UsageError: a stage that does not exist, `p` out of range, sharpening without `l1`,
                a function together with a stage, or what cannot go together.
        """
        if function is None:
            self._set(Stages(score, positivity, normalise, sharpen, scale), modifiers, setting)
            return
        own = OwnFunctionName(function)
        if Stages(score, positivity, normalise, sharpen, scale) != Stages():
            raise UsageError(f"{own} takes the place of all stages; name it alone")
        self._set(own, modifiers, setting)

    @classmethod
    def of(
        cls,
        computed: Computed,
        modifiers: tuple[Modifier, ...] = (),
        setting: Setting | None = None,
    ) -> Variant:
        """A variant that is trained to compute something, with modifiers.

        Raises:
            UsageError: what cannot go together.
        """
        variant = cls.__new__(cls)
        variant._set(computed, modifiers, setting)
        return variant

    def _set(
        self, computed: Computed, modifiers: tuple[Modifier, ...], setting: Setting | None
    ) -> None:
        setting = usual_setting(computed) if setting is None else setting
        is_tuple = isinstance(modifiers, tuple)
        if not is_tuple or not all(isinstance(each, Modifier) for each in modifiers):
            raise UsageError(
                f"modifiers is {modifiers!r}; it must be a tuple of Modifier, as in "
                "Variant.parse('softmax+yarn').modifiers"
            )
        object.__setattr__(self, "_trained", computed)
        object.__setattr__(self, "modifiers", modifiers)
        object.__setattr__(self, "setting", setting)
        check_setting(computed, setting)
        if modifiers:
            _check_modifiers(self)

    @classmethod
    def parse(cls, text: str | Variant) -> Variant:
        """Read `name[:key=value]*[+modifier]*`, for example `lssar:p=3` or `softmax+yarn`.

        The name can be `file.py:function`.

        Raises:
            UsageError: an unknown name (the message names the nearest), key or value.
        """
        if isinstance(text, Variant):
            return text
        if not isinstance(text, str):
            raise TypeError(f"variant is a {type(text).__name__}; it must be a name or a Variant")
        head, *tails = split_modifiers(text.strip())
        name, options = _split_options(head, text)
        variant = _from_name(name, options, text)
        return variant.with_modifiers(tuple(_parse_modifier(tail, text) for tail in tails))

    @classmethod
    def parse_list(cls, text: str) -> list[Variant]:
        """Read names separated by commas; a repeated variant is kept once.

        A comma that belongs to the path of a function's file, which exists, separates nothing.

        Raises:
            UsageError: as `parse`; not a string, or none in it.
        """
        if not isinstance(text, str):
            raise UsageError(
                f"variants is a {type(text).__name__}; it must be names with commas, such as "
                "softmax,lssar:p=15"
            )
        names = [name for name in _split_list(text) if name.strip()]
        if not names:
            raise UsageError("no variant given; name at least one, such as lssar:p=15")
        return list(dict.fromkeys(cls.parse(name) for name in names))

    @property
    def computes(self) -> Computed:
        """What its attention computes: what it is trained with, or what `swap` puts in."""
        swap = self.modifier("swap")
        return self._trained if swap is None or swap.target is None else swap.target.computes

    @property
    def trained(self) -> Variant:
        """The same variant without its modifiers: what a model was trained with."""
        return Variant.of(self._trained, setting=self.setting)

    def with_modifiers(self, modifiers: tuple[Modifier, ...]) -> Variant:
        """The same variant with other modifiers; errors as for `of`."""
        return Variant.of(self._trained, modifiers, self.setting)

    @property
    def scales_cosines(self) -> bool:
        """Whether `infoscale` multiplies cosines, whose queries' lengths say nothing."""
        computed = self._trained
        is_cosine = isinstance(computed, Stages) and computed.score == "cosine"
        return is_cosine and self.modifier("infoscale") is not None

    def modifier(self, name: str) -> Modifier | None:
        """Its modifier of a name, if it has one."""
        return next((each for each in self.modifiers if each.name == name), None)

    def __str__(self) -> str:
        """The canonical name; it always shows `p` and parses back to an equal variant."""
        return "+".join(
            (f"{self._trained}{self.setting.behind(self._trained)}", *map(str, self.modifiers))
        )

    def __repr__(self) -> str:
        return f"Variant.parse({str(self)!r})"


SWAP = "swap:to="
_FUNCTION_AHEAD = re.compile(r"\.py:[A-Za-z_]\w*(?:\+|$)")
_MODIFIER_AHEAD = re.compile(rf"\+(?:{'|'.join(map(re.escape, MODIFIERS))})(?:[:+]|$)")

PLAIN: Mapping[str, Variant] = {name: Variant.of(each) for name, each in PLAIN_STAGES.items()}
"""Variants without sharpening, by name."""

SHARPENED: Mapping[str, Variant] = {
    name: Variant.of(each) for name, each in SHARPENED_STAGES.items()
}
"""What each sharpened name sharpens; `p` comes from the name's option."""

SOURCES: Mapping[str, str] = {
    "softmax": "Vaswani et al. 2017, arXiv 1706.03762",
    "softmax-ls": "softmax with LSSA's own score: the fair baseline",
    "lssa": "arXiv 2501.13428",
    "lssar": "arXiv 2501.13428",
    "sigmoid": "arXiv 2409.04431",
    "relu": "arXiv 2309.08586",
    "softmax-r": "ablation in arXiv 2501.13428",
    "softmax-ls-r": "ablation",
    "softplus": "ablation",
    "softplus-r": "ablation",
    "lssa-count": "ablation of the l1 norm",
    "cosine": "the cosine times a number that does not grow with N (CosScale, arXiv 2501.08570)",
    "off-by-one": "as with one more key, of score and value 0 (Miller 2023)",
    "softpick": "scores below 0 get nothing and divide the row (Zuhri et al., arXiv 2504.20966)",
    "entmax15": "squares above a threshold of the row (Peters et al. 2019, arXiv 1905.05702)",
    "stick-breaking": "each key, nearest first, takes its share of what is left (arXiv 2410.17980)",
    "sigmoid-r": "ablation in arXiv 2501.13428, with l1",
}


def nearest(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` when something known is close, else the list of what is known."""
    close = closest(word, known)
    return f"; did you mean '{close}'?" if close else f"; known: {', '.join(known)}"


def split_modifiers(text: str) -> list[str]:
    """`softmax+yarn` as `softmax` and `yarn`; a plus in a function's path is a part of it."""
    starts = [
        at
        for at, character in enumerate(text)
        if character == "+"
        and (_MODIFIER_AHEAD.match(text, at) or not _FUNCTION_AHEAD.search(text, at))
    ]
    ends = [*starts, len(text)]
    return [text[: ends[0]], *(text[a + 1 : b] for a, b in pairwise(ends))]


def _split_list(text: str) -> list[str]:
    """At commas, but not at those of a file that exists."""
    names: list[str] = []
    pieces = text.split(",")
    while pieces:
        whole = next((n for n in range(len(pieces), 1, -1) if _names_file(pieces[:n])), 1)
        names.append(",".join(pieces[:whole]))
        del pieces[:whole]
    return names


def _names_file(pieces: list[str]) -> bool:
    """Whether pieces of a list are together one variant of a function in a file that exists."""
    parts = split_modifiers(",".join(pieces).strip())
    functions = [part.removeprefix(SWAP) for part in parts if FUNCTION.fullmatch(part)]
    files = [function.rsplit(":", 1)[0] for function in functions]
    commas = sum(file.count(",") for file in files if expanded(file).is_file())
    return commas == len(pieces) - 1


def _split_options(text: str, whole: str) -> tuple[str, dict[str, str]]:
    text = text.strip()
    if FUNCTION.fullmatch(text):  # colons of its path split nothing
        if not text.startswith(SWAP):
            return text, {}
        return "swap", {"to": text.removeprefix(SWAP)}
    name, *pairs = re.split(r"(?<!\.py):", text)  # file.py:function is one name
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals) or key in options:
            raise UsageError(
                f"variant {whole!r}: {pair!r} is not a key=value that appears once, "
                "as in lssar:p=15"
            )
        options[key] = value
    return name, options


def _take_power(options: dict[str, str], whole: str) -> int:
    text = options.pop("p", str(P_DEFAULT))
    if not text.isascii() or not text.isdigit() or not P_MIN <= int(text) <= P_MAX:
        raise UsageError(
            f"variant {whole!r}: p is {text!r}; it must be a whole number from {P_MIN} to {P_MAX}"
        )
    return int(text)


def _take_scale(options: dict[str, str], whole: str) -> float:
    text = options.pop("s", f"{COSINE_SCALE:g}")
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"variant {whole!r}: s is {text!r}; it must be a number, as in cosine:s=32"
        ) from None


def _from_name(name: str, options: dict[str, str], whole: str) -> Variant:
    if name in SHORT_NAMES:
        name, usual = _split_options(SHORT_NAMES[name], whole)
        options = usual | options
    legal = [*OPTIONS]
    computed: Computed
    if name == "stages":
        power = _take_power(options, whole) if "p" in options else None
        chosen: dict[str, Any] = {
            stage: options.pop(stage) for stage in CHOICES if stage in options
        }
        if "s" in options or chosen.get("score") == "cosine":
            chosen["scale"] = _take_scale(options, whole)
        computed = Stages(**chosen, sharpen=power)
        legal += [*CHOICES, "p", "s"]
    elif name in SHARPENED:
        computed = replace(SHARPENED_STAGES[name], sharpen=_take_power(options, whole))
        legal += ["p"]
    elif name == "cosine":
        computed = replace(PLAIN_STAGES[name], scale=_take_scale(options, whole))
        legal += ["s"]
    elif name in PLAIN:
        computed = PLAIN_STAGES[name]
    elif ".py" in name:
        computed, legal = OwnFunctionName(name), []
    else:
        raise UsageError(
            f"unknown variant {name!r}{nearest(name, [*PLAIN, *SHARPENED, *SHORT_NAMES])}"
        )
    setting = take_setting(options, computed) if legal else PLAIN_SETTING
    if options:
        raise UsageError(
            f"variant {whole!r}: {name} does not take {sorted(options)[0]!r}; it takes "
            f"{', '.join(legal) or 'no option'}"
        )
    return Variant.of(computed, setting=setting)


def _parse_modifier(text: str, whole: str) -> Modifier:
    name, options = _split_options(text, whole)
    if name not in MODIFIERS:
        raise UsageError(
            f"variant {whole!r}: unknown modifier {name!r}{nearest(name, list(MODIFIERS))}"
        )
    if name == "swap":
        target = options.pop("to", "")
        if not target:
            raise UsageError(
                f"variant {whole!r}: swap needs the variant to put in, as in swap:to=lssar:p=15"
            )
        found = _from_name(target, options, whole)
        if found.setting != usual_setting(found.computes):
            raise UsageError(
                f"variant {whole!r}: swap puts in an attention, and the weights keep their own "
                f"positions and gates; write swap:to={Variant.of(found.computes)}"
            )
        return Modifier(name, target=found)
    legal = {"align": ("by", get_args(AlignBy)), "yarn": ("ramp", get_args(Ramp))}.get(name)
    given: dict[str, Any] = {}
    if legal is not None and legal[0] in options:
        option, values = legal
        given[option] = options.pop(option)
        if given[option] not in values:
            raise UsageError(
                f"variant {whole!r}: {option} is {given[option]!r}; it can be {' or '.join(values)}"
            )
    if options:
        takes = "no option" if legal is None else legal[0]
        raise UsageError(
            f"variant {whole!r}: {name} does not take {sorted(options)[0]!r}; it takes {takes}"
        )
    return Modifier(name, **given)


def _check_modifiers(variant: Variant) -> None:
    """Refuse what cannot go together, with the reason."""
    names = [modifier.name for modifier in variant.modifiers]
    rotations = [name for name in names if name in ROTATIONS]
    temperatures = [name for name in names if name in TEMPERATURES]
    computed = variant.computes

    def refuse(why: str) -> UsageError:
        return UsageError(f"variant {variant}: {why}")

    if len(set(names)) < len(names):
        raise refuse("a modifier appears once at most")
    if rotations and not variant.setting.position.scales_far_keys:
        raise refuse(
            f"{rotations[0]} changes how far keys are rotated, and here none are, or as they were "
            "trained to be"
        )
    if "rerope" in names and not variant.setting.is_plainly_rotary:
        raise refuse(
            "rerope turns far keys in every layer and head, so all must be rotary, see all keys "
            "and have no forget gate, learned scale or sink, and be no difference of two"
        )
    if variant.setting.dilate is not None and ("window" in names or temperatures):
        raise refuse(
            f"a row sees {variant.setting.dilate.keys} keys at every length, so "
            f"{('window', *temperatures)[-1]} has nothing to do"
        )
    if len(rotations) > 1:
        raise refuse(f"{' and '.join(rotations)} both change the rotation; take one")
    if len(temperatures) > 1:
        raise refuse(f"{' and '.join(temperatures)} both set the temperature; take one")
    if "window" in names and (rotations or temperatures):
        other = (rotations + temperatures)[0]
        raise refuse(
            f"a window of the training length shows nothing that training did not, so {other} "
            "has nothing to do"
        )
    if "swap" in names and computed == variant.trained.computes:
        raise refuse("swap puts in the variant that is there already")
    check_setting(computed, variant.setting)
    inside = [name for name in names if name in ("window", "rerope")]
    if inside and isinstance(computed, OwnFunctionName):
        raise refuse(f"{inside[0]} reaches into the attention, and {computed} is its own")
    if "rerope" in names and "align" in names:
        raise refuse(
            "align fits a statistic of rows whose keys are all turned by their own distance, and "
            "rerope turns far keys otherwise"
        )
    if not temperatures or isinstance(computed, OwnFunctionName):
        return
    if computed.cosine and not (variant.scales_cosines and "swap" not in names):
        raise refuse(
            f"{temperatures[0]} makes queries longer, and the score {computed.score} does not "
            "depend on their length"
        )
    if computed.positivity == "relu":
        raise refuse(f"{temperatures[0]} scales relu's weights and changes no ratio between them")
