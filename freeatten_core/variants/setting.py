"""What a trained model has around its attention: positions, a forget gate, a gated output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from freeatten_core.basics.errors import UsageError
from freeatten_core.positions.layout import ROTARY, Layout
from freeatten_core.positions.table import POSITIONS

from .stages import Computed, Stages

__all__ = [
    "OPTIONS",
    "PLAIN_SETTING",
    "Gate",
    "Output",
    "Setting",
    "check_setting",
    "take_setting",
    "usual_setting",
]

Gate = Literal["forget"]
"""`forget`: a pair at distance d keeps `Π σ(w·x_l + b)` over the d tokens between (arXiv
2503.02130), before the row is divided by its sum."""
Output = Literal["gated"]
"""`gated`: the heads' outputs times `σ(W x)` (arXiv 2505.06708)."""

COUNTS_DIMENSIONS = ("length-cosine", "dim-cosine")
"""Scores that depend on D itself."""

OPTIONS: Mapping[str, str] = {
    "position": "how every layer and head knows order",
    "gate": "what is forgotten on the way",
    "output": "what multiplies the heads' outputs",
}


@dataclass(frozen=True)
class Setting:
    """How a model is made around what its attention computes; learned with it."""

    position: Layout = ROTARY
    gate: Gate | None = None
    output: Output | None = None

    @property
    def is_rotary(self) -> bool:
        """Whether every head of every layer is rotary, sees all keys and forgets none."""
        return self.position.is_rotary and self.gate is None

    def behind(self, computed: Computed) -> str:
        """As behind the name of what is computed: `:gate=forget:position=none`; empty where it is
        as usual."""
        gate = "" if self.gate is None else f":gate={self.gate}"
        output = "" if self.output is None else f":output={self.output}"
        usual = usual_setting(computed).position
        position = "" if self.position == usual else f":position={self.position}"
        return gate + output + position


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
    position = options.pop("position", None)
    return Setting(
        position=(usual_setting(computed).position if position is None else Layout.parse(position)),
        gate=cast("Gate | None", _one_of("gate", options.pop("gate", None), get_args(Gate))),
        output=cast(
            "Output | None", _one_of("output", options.pop("output", None), get_args(Output))
        ),
    )


def _one_of(name: str, value: str | None, legal: tuple[str, ...]) -> str | None:
    if value is not None and value not in legal:
        raise UsageError(f"{name} is {value!r}; it can be {', '.join(legal)}")
    return value


def check_setting(computed: Computed, setting: Setting) -> None:
    """Refuse a gate or a position on what it cannot act on.

    Raises:
        UsageError: with the reason.
    """
    doubled = [kind for kind in sorted(setting.position.kinds) if POSITIONS[kind].doubles]
    if doubled and isinstance(computed, Stages) and computed.score in COUNTS_DIMENSIONS:
        raise UsageError(
            f"variant {computed}{setting.behind(computed)}: {doubled[0]} doubles the size of "
            f"queries and keys, whose logarithm the score {computed.score} is multiplied with; "
            "take a score without it, such as dot"
        )
    if setting.gate is None:
        return
    if not (isinstance(computed, Stages) and computed.can_forget):
        raise UsageError(
            f"variant {computed}{setting.behind(computed)}: a forget gate lowers what far keys "
            "have of their row, so the row must be divided by its sum (l1)"
        )
