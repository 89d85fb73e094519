"""What modifiers do to a model of the transformers library.

`L` is the length that it declares, but of a window the one after which it restarts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Protocol, Self, TypeVar, get_args

import torch
from torch import Tensor, nn

from freeatten_core.basics.errors import UsageError
from freeatten_core.models.interface import Undone
from freeatten_core.models.modifiers import QueryFactor, query_factor, scaled_rope
from freeatten_core.ops.call import Familiar
from freeatten_core.positions.rope import Rope
from freeatten_core.positions.scalings import Scaling
from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import ROTATIONS, TEMPERATURES, Variant

from .attention import Change
from .parts import replacing, shallow

__all__ = ["Modifiable", "modified", "undoing"]

PLAIN_ROTATION = 1e-4
"""Relative: frequencies closer than this to those of a plain embedding are plain."""


class Modifiable(Protocol):
    """A model, a dataclass, as far as modifiers know it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> Any: ...
    @property
    def body(self) -> nn.Module: ...
    @property
    def declared_length(self) -> int | None: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def change(self) -> Change | None: ...
    @property
    def takes_window(self) -> bool: ...
    def with_window(self, window: int) -> Self:
        """The same where every row sees its last `window` keys."""


M = TypeVar("M", bound=Modifiable)


def modified(model: M, variant: Variant, longest: int, restart: int) -> M:
    """The same weights under modifiers.

    Args:
        variant: the model's own with modifiers.
        longest: tokens of the longest text to come.
        restart: keys that a row sees under `window`.

    Raises:
        UsageError: a modifier that cannot be had here, with the reason.
    """
    names = [modifier.name for modifier in variant.modifiers]
    if "align" in names:
        raise UsageError(f"{model.name}: align is fitted for models of this project only")
    unknown = {*names} - {*ROTATIONS, *TEMPERATURES, "window", "swap"}
    if unknown:
        raise UsageError(f"{model.name}: {min(unknown)} is for models of this project only")
    found = model
    rotation = next((name for name in names if name in ROTATIONS), None)
    rope = None if rotation is None else _rope(model, rotation)
    if rope is not None and rotation != "rerope":
        found = _rotated(found, scaled_rope(rope, variant, longest))
    if "window" in names:
        found = found.with_window(restart)
    change = Change(
        _factor(model, variant),
        variant.computes if "swap" in names else _trained(model),
        Familiar(rope, rotation=True) if rope is not None and rotation == "rerope" else None,
    )
    if change == Change():
        return found
    if not model.takes_window:
        raise UsageError(
            f"{model.name}: not every layer's attention can be given another, so "
            f"{' and '.join(names)} cannot be had"
        )
    return replace(found, change=change)


def undoing(model: M, what: Undone, variant: Variant, longest: int) -> M:
    """The same weights under modifiers, with a thing undone that is new past the declared length.

    Args:
        what: is undone in every head.
        variant: the model's own, with scalings of its rotation as modifiers at most.
        longest: tokens of the longest text to come.

    Raises:
        UsageError: it declares no length, its layers cannot be given another attention, or it has
            not one plain rotary embedding.
    """
    known = _declared(model)
    found = modified(model, variant, longest, known)
    if what == "window":
        return found.with_window(known)
    if not model.takes_window:
        raise UsageError(f"{model.name}: not every layer's attention can be given another")
    rope = scaled_rope(_rope(model, "what ablate undoes"), variant, longest)
    parts = what.split("+")
    familiar = Familiar(rope, rotation="rotation" in parts, scale="scale" in parts)
    return replace(found, change=Change(computed=_trained(model), familiar=familiar))


def _trained(model: Modifiable) -> Computed | None:
    """What a model computes in the place of softmax, without modifiers."""
    return None if model.change is None else model.change.computed


def _factor(model: Modifiable, variant: Variant) -> QueryFactor | None:
    if not any(variant.modifier(name) for name in TEMPERATURES):
        return None
    return query_factor(variant, _declared(model), model.head_dim, None)


def _declared(model: Modifiable) -> int:
    if model.declared_length is None:
        raise UsageError(f"{model.name} declares no length that modifiers could count from")
    return model.declared_length


def _rope(model: Modifiable, modifier: str) -> Rope:
    """The plain rotary embedding of a model.

    Raises:
        UsageError: it has none, with the reason.
    """

    def refuse(why: str) -> UsageError:
        return UsageError(f"{model.name}: {modifier} needs one plain rotary embedding, and {why}")

    own = _rotaries(model.network)
    if not own:
        several = any(name.endswith("_inv_freq") for name, _ in model.network.named_buffers())
        raise refuse("it has one for each kind of layer" if several else "it has none")
    if len(own) > 1:
        raise refuse("it has several")
    parameters = getattr(model.network.config, "rope_parameters", None) or {}
    base = parameters.get("rope_theta")
    kind = parameters.get("rope_type", "default")
    if base is None or kind != "default":
        raise refuse(f"its own is of the type {kind}")
    frequencies: Tensor = own[0].get_buffer("inv_freq")
    rope = Rope(2 * len(frequencies), float(base), _declared(model))
    plain = rope.frequencies(1).to(frequencies.device, torch.float32)
    if not torch.allclose(frequencies.float(), plain, rtol=PLAIN_ROTATION, atol=0):
        raise refuse("its own has other frequencies than its configuration says")
    if modifier not in get_args(Scaling) and rope.dim != model.head_dim:
        raise refuse(f"its own turns {rope.dim} of {model.head_dim} dimensions")
    return rope


def _rotaries(network: nn.Module) -> list[nn.Module]:
    return [
        module
        for module in network.modules()
        if "inv_freq" in dict(module.named_buffers(recurse=False))
    ]


def _rotated(model: M, rope: Rope) -> M:
    """The model with other angles."""
    own = _rotaries(model.network)[0]
    network = replacing(model.network, own, _Rotary(own, rope))
    place = next(name for name, part in model.network.named_modules() if part is model.body)
    return replace(model, network=network, body=network.get_submodule(place))


class _Rotary(nn.Module):
    """A model's rotary embedding with other frequencies, for each length its own."""

    def __init__(self, own: nn.Module, rope: Rope) -> None:
        super().__init__()
        self.own, self.rope = own, rope

    def forward(self, states: Tensor, position_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        """cos and sin, as the model's own; positions are those of one text from its beginning."""
        part: Any = shallow(self.own)
        frequencies = self.rope.frequencies(position_ids.shape[-1])
        part._buffers["inv_freq"] = frequencies.to(position_ids.device, torch.float32)
        part.attention_scaling = self.rope.temperature
        return part(states, position_ids, *args, **kwargs)
