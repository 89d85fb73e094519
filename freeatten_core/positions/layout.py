"""Which position every layer and head of a model has, and how that is typed.

    position   layer[-layer]…      from the lowest layer up; begun again when the model has more
    layer      kind[/kind]…[@keys] equal shares of the heads, in this order; a window of `keys` keys

`alibi`; `alibi/none`, half the heads of each; `rope@128-none`, by turns a rotary layer that sees
128 keys and one that sees all and has no position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.suggestions import closest

from .alibi import slopes
from .table import POSITIONS

__all__ = ["MOST_KEYS", "ROTARY", "LayerLayout", "LayerPosition", "Layout"]

MOST_KEYS = 1 << 20
"""A longer window is a mistake."""


@dataclass(frozen=True)
class LayerPosition:
    """The position of one layer of a model, with its numbers."""

    kinds: tuple[str, ...]
    """Of every head, by the names of `POSITIONS`."""
    slopes: tuple[float, ...]
    """What the score of every head loses by a token; 0 for heads without `alibi`."""
    window: int | None = None
    """How many keys a row sees at most, its own included; None for all."""

    @property
    def rotations(self) -> tuple[str | None, ...]:
        """Of every head the kind that turns it; None for heads that nothing turns."""
        return tuple(kind if POSITIONS[kind].rotates else None for kind in self.kinds)

    @property
    def doubles(self) -> bool:
        """Whether queries and keys have twice the size of the values."""
        return POSITIONS[self.kinds[0]].doubles

    def repeated(self, times: int) -> LayerPosition:
        """The layer whose heads are so many each, next to each other."""
        kinds = tuple(kind for kind in self.kinds for _ in range(times))
        slopes = tuple(slope for slope in self.slopes for _ in range(times))
        return replace(self, kinds=kinds, slopes=slopes)


@dataclass(frozen=True)
class LayerLayout:
    """What a name says of a layer, whatever the number of its heads."""

    kinds: tuple[str, ...] = ("rope",)
    window: int | None = None

    def of_heads(self, heads: int) -> LayerPosition:
        """The layer of a model with so many heads; head h has kind ⌊h · kinds / heads⌋.

        Raises:
            UsageError: more kinds than heads.
        """
        if len(self.kinds) > heads:
            raise UsageError(f"position {self} shares out {heads} heads; it needs as many as kinds")
        kinds = [self.kinds[head * len(self.kinds) // heads] for head in range(heads)]
        falls = iter(slopes(sum(POSITIONS[kind].slopes for kind in kinds)))
        return LayerPosition(
            kinds=tuple(kinds),
            slopes=tuple(next(falls) if POSITIONS[kind].slopes else 0.0 for kind in kinds),
            window=self.window,
        )

    def __str__(self) -> str:
        keys = "" if self.window is None else f"@{self.window}"
        return "/".join(self.kinds) + keys


@dataclass(frozen=True)
class Layout:
    """The positions of a model's layers, from the lowest up, begun again when it has more."""

    layers: tuple[LayerLayout, ...]

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read `alibi`, `alibi/none` or `rope@128-none`; what only begins again is said once.

        Raises:
            UsageError: a kind that does not exist, or a window out of range.
        """
        layers = tuple(_layer(part, text) for part in text.split("-"))
        periods = (n for n in range(1, len(layers) + 1) if len(layers) % n == 0)
        return cls(next(layers[:n] for n in periods if layers[:n] * (len(layers) // n) == layers))

    def of_model(self, layers: int, heads: int) -> tuple[LayerPosition, ...]:
        """One entry a layer.

        Raises:
            UsageError: more layers in the name than in the model, or more kinds than heads.
        """
        if len(self.layers) > layers:
            raise UsageError(
                f"position {self} names {len(self.layers)} layers; the model has {layers}"
            )
        return tuple(self.layers[at % len(self.layers)].of_heads(heads) for at in range(layers))

    @property
    def is_rotary(self) -> bool:
        """Whether every layer sees all keys and rotates all heads, as of a model without an
        option."""
        return self == ROTARY

    @property
    def kinds(self) -> frozenset[str]:
        """Those of all layers and heads."""
        return frozenset(kind for each in self.layers for kind in each.kinds)

    @property
    def scales_far_keys(self) -> bool:
        """Whether a layer that sees all keys has a head whose rotation can be scaled."""
        return any(
            each.window is None and any(POSITIONS[kind].scalable for kind in each.kinds)
            for each in self.layers
        )

    def __str__(self) -> str:
        return "-".join(map(str, self.layers))


ROTARY = Layout((LayerLayout(),))
"""Of a name that says nothing of it."""


def _layer(text: str, whole: str) -> LayerLayout:
    named, at, keys = text.partition("@")
    kinds = tuple(named.split("/"))
    for kind in kinds:
        if kind not in POSITIONS:
            close = closest(kind, list(POSITIONS))
            meant = f"; did you mean {close!r}?" if close else f"; known: {', '.join(POSITIONS)}"
            raise UsageError(f"position {whole!r}: unknown position {kind!r}{meant}")
    kinds = kinds[:1] if len(set(kinds)) == 1 else kinds
    for kind in kinds:
        if POSITIONS[kind].doubles and len(kinds) > 1:
            raise UsageError(
                f"position {whole!r}: {kind} doubles the size of queries and keys, so it must be "
                f"that of all heads of a layer; layers may differ, as in {kind}-none"
            )
    if not at:
        return LayerLayout(kinds)
    if not re.fullmatch(r"[0-9]{1,7}", keys) or not 1 <= int(keys) <= MOST_KEYS:
        raise UsageError(
            f"position {whole!r}: the window is {keys!r}; it must be a whole number of keys from 1 "
            f"to {MOST_KEYS}"
        )
    return LayerLayout(kinds, int(keys))
