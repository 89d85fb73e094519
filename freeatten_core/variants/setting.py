"""What a trained model has around its attention: positions, gates, what it learns of scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from freeatten_core.basics.errors import UsageError
from freeatten_core.positions.layout import ROTARY, Layout
from freeatten_core.positions.table import POSITIONS

from .stages import Computed, Stages

__all__ = [
    "OPTIONS",
    "PLAIN_SETTING",
    "SHORT_NAMES",
    "Dilation",
    "Gate",
    "Heads",
    "Output",
    "Scale",
    "Setting",
    "Sink",
    "check_setting",
    "take_setting",
    "usual_setting",
]

Gate = Literal["forget"]
"""`forget`: a pair at distance d keeps `Π σ(w·x_l + b)` over the d tokens between (arXiv
2503.02130), before the row is divided by its sum."""
Output = Literal["gated"]
"""`gated`: the heads' outputs times `σ(W x)` (arXiv 2505.06708)."""
Scale = Literal["log-n", "log-n-bias", "adaptive"]
"""What a head learns to multiply `q·k` with: `log-n`, `m · log N` (SSMax, arXiv 2501.19399), with
`-bias` plus a number; `adaptive`, by every query's own input (ASEntmax, arXiv 2506.16640)."""
Sink = Literal["learned"]
"""`learned`: the one more key of `off-by-one` has a learned score in every head (as in GPT-OSS)."""

Heads = Literal["difference"]
"""`difference`: a head is two attentions on the same values, the second, times `σ(w·x)`, taken from
the first (DIFF V2, after arXiv 2410.05258)."""

MOST_DILATED = 4096
"""Keys of a row under `dilate`; more are a mistake."""

COUNTS_DIMENSIONS = ("length-cosine", "dim-cosine")
"""Scores that depend on D itself."""

OPTIONS: Mapping[str, str] = {
    "position": "how every layer and head knows order",
    "gate": "what is forgotten on the way",
    "output": "what multiplies the heads' outputs",
    "scale": "what scores are multiplied with, as N grows",
    "sink": "the score of off-by-one's one more key",
    "dilate": "how many keys, farther apart with depth, a row sees",
    "heads": "what a head is made of",
}


SHORT_NAMES: Mapping[str, str] = {
    "alibi": "softmax:position=alibi",
    "nope": "softmax:position=none",
    "clex": "softmax:position=clex",
    "pope": "softmax:position=pope",
    "drope": "softmax:position=drope",
    "fox": "softmax:gate=forget:position=none",
    "ssmax": "softmax:scale=log-n",
    "ssmax-bias": "softmax:scale=log-n-bias",
    "sink": "off-by-one:sink=learned",
    "diff": "softmax:heads=difference",
    "regulargpt": "softmax:dilate=64:position=none",
    "asentmax": "entmax15:scale=adaptive:position=alibi/none",
}
"""Names that literature knows, and what they are here; they print as that."""


@dataclass(frozen=True)
class Dilation:
    """RegularGPT's attention (arXiv 2305.03796): at depth d a row sees the keys i · C^d before it,
    i = 0 … C − 1, each with a learned bias, and depth grows with the text."""

    keys: int
    """C."""
    is_shared: bool = True
    """Whether every depth has the same layers; else the depth of training stays."""

    def __str__(self) -> str:
        return str(self.keys) if self.is_shared else f"{self.keys}/own"

    @classmethod
    def parse(cls, text: str) -> Dilation:
        """Read `64` or `2/own`.

        Raises:
            UsageError: something else.
        """
        keys, slash, own = text.partition("/")
        found = re.fullmatch(r"[0-9]{1,5}", keys) and (own == "own" if slash else True)
        if not found or not 2 <= int(keys) <= MOST_DILATED:
            raise UsageError(
                f"dilate is {text!r}; it must be a whole number of keys from 2 to {MOST_DILATED}, "
                "and /own behind it for layers that are not shared"
            )
        return cls(int(keys), not slash)

    def depth(self, tokens: int) -> int:
        """`⌈log_C tokens⌉`, at least 1: after so many depths a row has met every key."""
        depth, reach = 1, self.keys
        while reach < tokens:
            depth, reach = depth + 1, reach * self.keys
        return depth


@dataclass(frozen=True)
class Setting:
    """How a model is made around what its attention computes; learned with it."""

    position: Layout = ROTARY
    gate: Gate | None = None
    output: Output | None = None
    scale: Scale | None = None
    sink: Sink | None = None
    dilate: Dilation | None = None
    heads: Heads | None = None

    @property
    def is_plainly_rotary(self) -> bool:
        """Whether every head of every layer is rotary, sees all keys, forgets none, learns nothing
        else of its scores and is one attention."""
        others = self.gate, self.scale, self.sink, self.heads
        return self.position.is_rotary and not any(others)

    def behind(self, computed: Computed) -> str:
        """As behind the name of what is computed: `:gate=forget:position=none`; empty where it is
        as usual."""
        scale = "" if self.scale is None else f":scale={self.scale}"
        gate = "" if self.gate is None else f":gate={self.gate}"
        output = "" if self.output is None else f":output={self.output}"
        usual = usual_setting(computed).position
        position = "" if self.position == usual else f":position={self.position}"
        sink = "" if self.sink is None else f":sink={self.sink}"
        dilate = "" if self.dilate is None else f":dilate={self.dilate}"
        heads = "" if self.heads is None else f":heads={self.heads}"
        return scale + sink + gate + output + dilate + heads + position


PLAIN_SETTING = Setting()


def usual_setting(computed: Computed) -> Setting:
    """What a model has unless its name says otherwise: rotary positions, and none where weights go
    by the order of keys anyway."""
    if isinstance(computed, Stages) and computed.needs_order:
        return Setting(position=Layout.parse("none"))
    return PLAIN_SETTING


def take_setting(options: dict[str, str], computed: Computed) -> Setting:
    """The setting that a name's options ask for; takes them out.

    Raises:
        UsageError: a value that does not exist.
    """
    position, dilate = options.pop("position", None), options.pop("dilate", None)
    return Setting(
        position=(usual_setting(computed).position if position is None else Layout.parse(position)),
        gate=cast("Gate | None", _one_of("gate", options.pop("gate", None), get_args(Gate))),
        output=cast(
            "Output | None", _one_of("output", options.pop("output", None), get_args(Output))
        ),
        scale=cast("Scale | None", _one_of("scale", options.pop("scale", None), get_args(Scale))),
        sink=cast("Sink | None", _one_of("sink", options.pop("sink", None), get_args(Sink))),
        dilate=None if dilate is None else Dilation.parse(dilate),
        heads=cast("Heads | None", _one_of("heads", options.pop("heads", None), get_args(Heads))),
    )


def _one_of(name: str, value: str | None, legal: tuple[str, ...]) -> str | None:
    if value is not None and value not in legal:
        raise UsageError(f"{name} is {value!r}; it can be {', '.join(legal)}")
    return value


def check_setting(computed: Computed, setting: Setting) -> None:
    """Refuse a position, a gate, a scale, a sink or a dilation on what it cannot act on.

    Raises:
        UsageError: with the reason.
    """
    if not isinstance(setting, Setting):
        raise UsageError(
            f"setting is {setting!r}; it must be a Setting, as in "
            "Variant.parse('softmax:gate=forget').setting"
        )

    def refuse(why: str) -> UsageError:
        return UsageError(f"variant {computed}{setting.behind(computed)}: {why}")

    doubled = [kind for kind in sorted(setting.position.kinds) if POSITIONS[kind].doubles]
    if doubled and isinstance(computed, Stages) and computed.score in COUNTS_DIMENSIONS:
        raise refuse(
            f"{doubled[0]} doubles the size of queries and keys, whose logarithm the score "
            f"{computed.score} is multiplied with; take a score without it, such as dot"
        )
    if setting.gate is not None and not (isinstance(computed, Stages) and computed.can_forget):
        raise refuse(_why_no_gate(computed))
    off_by_one = isinstance(computed, Stages) and computed.normalise == "off-by-one"
    if setting.sink is not None and not off_by_one:
        raise refuse("a sink is the one more key of off-by-one; write off-by-one:sink=learned")
    if setting.dilate is not None:
        _check_dilation(computed, setting, refuse)
    if setting.scale is not None:
        _check_scale(computed, setting, refuse)


def _why_no_gate(computed: Computed) -> str:
    if isinstance(computed, Stages) and computed.positivity == "entmax15":
        return (
            "a forget gate lowers the positive score of each far key, and entmax15 gives the "
            "weights of a whole row at once"
        )
    return (
        "a forget gate lowers what far keys have of their row, so the row must be divided by its "
        "sum (l1)"
    )


def _check_dilation(
    computed: Computed, setting: Setting, refuse: Callable[[str], UsageError]
) -> None:
    if computed != Stages():
        raise refuse("dilate is of softmax, as its source has it")
    if setting.position != Layout.parse("none"):
        raise refuse(
            "with dilate, the learned bias of each of the keys is the position; write "
            f"softmax:dilate={setting.dilate}:position=none"
        )
    if setting.gate is not None:
        raise refuse("a forget gate is of all keys that lie between, and dilate leaves most out")
    if setting.scale is not None:
        raise refuse(
            "a scale grows with the keys that a row sees, and with dilate they are as many"
        )


def _check_scale(computed: Computed, setting: Setting, refuse: Callable[[str], UsageError]) -> None:
    if not isinstance(computed, Stages):
        raise refuse("a scale is of scores, and a function of one's own has none")
    if computed.cosine:
        raise refuse(
            f"a scale makes queries longer, and the score {computed.score} does not depend on "
            "their length"
        )
    if computed.positivity == "relu":
        raise refuse("a scale changes no ratio between relu's weights")
    layers = setting.position.layers
    if setting.scale == "adaptive" and any(set(each.kinds) == {"alibi"} for each in layers):
        raise refuse(
            "scale=adaptive is of heads without ALiBi, and a layer has no other; take "
            "position=alibi/none"
        )
