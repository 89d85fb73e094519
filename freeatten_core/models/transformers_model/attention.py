"""Softmax attention as transformers calls it, in panels: neither scores nor masks are L×L.

Registered with the library under one name, so that every architecture that asks the library for
its attention gets it. Windows come from the mask's rule, not from arguments, which some
architectures do not pass. Caps of scores and sinks are as the models' own eager attention has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.forecast import seen_scores
from freeatten_core.models.modifiers import QueryFactor
from freeatten_core.ops.call import Familiar
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

from .config import require_transformers

__all__ = [
    "NAME",
    "Call",
    "Change",
    "HeadWindow",
    "Rule",
    "alone",
    "attend",
    "changed",
    "check_plain",
    "register",
    "watched",
    "windowed",
]

NAME = "freeatten"
SCORES = 1 << 24
"""Scores at a time: 64 MB in float32."""
PANEL_ROWS = 512

_window: ContextVar[int | None] = ContextVar("window", default=None)
_change: ContextVar[Change | None] = ContextVar("change", default=None)
_alone: ContextVar[_Alone | None] = ContextVar("alone", default=None)
_watch: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@dataclass(frozen=True)
class Change:
    """What a layer's attention does otherwise than its model asks."""

    factor: QueryFactor | None = None
    """What queries are multiplied with."""
    computed: Computed | None = None
    """What is computed in the place of softmax."""
    familiar: Familiar | None = None
    """How far keys are turned."""

    @property
    def takes_operator(self) -> bool:
        """Whether this project's operator computes it."""
        return self.computed is not None or self.familiar is not None


class Rule:
    """Which keys each row sees, as an index rule; what a mask is to this attention."""

    def __init__(self, visible: Callable[..., Tensor], length: int, device: torch.device) -> None:
        self._visible = visible
        self._at = torch.arange(length, device=device)

    def visible(self, rows: Tensor, keys: Tensor) -> Tensor:
        """(rows, keys), for their positions."""
        none = torch.zeros((), dtype=torch.long, device=rows.device)
        found = self._visible(none, none, rows[:, None], keys[None, :])
        return found.broadcast_to(len(rows), len(keys))

    @cached_property
    def window(self) -> int | None:
        """How many keys a row sees at most, itself included: the length for plain causal attention,
        None where the rule is another."""
        at = self._at
        window = int(self.visible(at[-1:], at).sum())
        for rows in torch.split(at, PANEL_ROWS):
            distance = rows[:, None] - at[None, :]
            if not torch.equal(self.visible(rows, at), (distance >= 0) & (distance < window)):
                return None
        return window


def register() -> None:
    """Make the attention known to transformers under `NAME`."""
    transformers = require_transformers()
    transformers.AttentionInterface.register(NAME, attend)
    transformers.AttentionMaskInterface.register(NAME, _rule)


@contextmanager
def windowed(window: int) -> Iterator[None]:
    """Every row sees its last `window` keys at most, in this thread."""
    token = _window.set(window)
    try:
        yield
    finally:
        _window.reset(token)


@dataclass(frozen=True)
class Call:
    """One layer's attention as it was asked for."""

    module: nn.Module
    """The layer's."""
    query: Tensor
    """(B, H, L, D)"""
    key: Tensor
    """(B, Hkv, L, D)"""
    scale: float
    """Of the scores."""
    window: int | None
    """Keys that a row sees at most; the length for plain causal attention, None where the mask's
    rule is another."""
    softcap: float | None
    """Bound of the scores."""
    sinks: Tensor | None
    """The score of a key without a value, (H,)."""

    @property
    def query_as_scored(self) -> Tensor:
        """The queries that give its scores when they are scaled with 1/√D, (B, H, L, D)."""
        return self.query * (self.scale * math.sqrt(self.query.shape[-1]))


@dataclass(frozen=True)
class HeadWindow:
    """One head of a pass whose rows see their last keys alone."""

    call: int
    """Of the pass' calls, in their order from 0."""
    head: int
    window: int


@dataclass
class _Alone:
    at: HeadWindow
    calls: int = 0


@dataclass(frozen=True)
class _Watch:
    see: Callable[[Call], None]
    advance: Callable[[float], None]


@contextmanager
def changed(change: Change) -> Iterator[None]:
    """Every attention is so, in this thread."""
    token = _change.set(change)
    try:
        yield
    finally:
        _change.reset(token)


@contextmanager
def alone(at: HeadWindow) -> Iterator[None]:
    """One head of the pass to come has a window, in this thread."""
    token = _alone.set(_Alone(at))
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def watched(
    see: Callable[[Call], None], advance: Callable[[float], None] = lambda _: None
) -> Iterator[None]:
    """Show every call in this thread.

    Args:
        see: called before a call is computed; what it raises ends the pass.
        advance: called with the number of scores of every part computed.
    """
    token = _watch.set(_Watch(see, advance))
    try:
        yield
    finally:
        _watch.reset(token)


def _rule(
    batch_size: int,  # noqa: ARG001  (the library passes all of these by name or place)
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor] | None = None,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **_: Any,
) -> Rule:
    plain = q_length == kv_length and not int(q_offset) and not int(kv_offset)
    if not plain or mask_function is None or attention_mask is not None:
        raise ContentError("a text is read whole, without padding and without a cache")
    return Rule(mask_function, q_length, torch.device(device))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Rule | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a layer, (B, L, heads, width of a value), and no weights.

    Args:
        module: the layer's.
        query: (B, heads, L, D).
        key, value: (B, key heads, L, D and width of a value).
        attention_mask: which keys a row sees.
        scaling: of the scores, 1/√D where it is None.
        softcap: bound of the scores, if there is one.
        s_aux: the score of a key without a value, (heads,), if there is one.
    """
    if not isinstance(attention_mask, Rule):
        raise ContentError("its attention has no mask that is an index rule")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    change = _change.get() or Change()
    if change.factor is not None:
        factors = change.factor(query.shape[2]).to(query.device)
        query = (query * factors[:, None]).to(query.dtype)
    length, own, other = key.shape[2], attention_mask.window, _window.get()
    window = min(length if own is None else own, length if other is None else other)
    call = Call(module, query, key, scale, own and window, softcap, s_aux)
    watch = _watch.get()
    if watch is not None:
        watch.see(call)
    advance = (lambda _: None) if watch is None else watch.advance
    if change.takes_operator:
        mixed = _by_operator(call, value, change)
    else:
        mixed = _as_asked(call, value, attention_mask, window, advance)
    asked = _alone.get()
    if asked is not None:
        if asked.calls == asked.at.call:
            head, part = _of_head(call, value, asked.at.head, min(window, asked.at.window))
            if change.takes_operator:
                alone = _by_operator(head, part, change)
            else:
                seen = min(window, asked.at.window)
                alone = _in_panels(head, head.key, part, attention_mask, seen, advance)
            mixed[:, asked.at.head] = alone[:, 0]
        asked.calls += 1
    return mixed.transpose(1, 2).contiguous(), None


def _of_head(call: Call, value: Tensor, head: int, window: int) -> tuple[Call, Tensor]:
    """The call of one head whose rows see `window` keys, and its values, (B, 1, L, width)."""
    shared = [head // (call.query.shape[1] // call.key.shape[1])]
    alone = replace(
        call,
        query=call.query[:, [head]],
        key=call.key[:, shared],
        window=call.window and window,
        sinks=None if call.sinks is None else call.sinks[[head]],
    )
    return alone, value[:, shared]


def _as_asked(
    call: Call, value: Tensor, rule: Rule, window: int, advance: Callable[[float], None]
) -> Tensor:
    """Output (B, H, L, width of a value) of the attention that the model was trained with."""
    query, groups = call.query, call.query.shape[1] // call.key.shape[1]
    key, value = (each.repeat_interleave(groups, dim=1) for each in (call.key, value))
    length = key.shape[2]
    plain = call.window == length and call.softcap is None and call.sinks is None
    if not plain or value.shape[-1] != query.shape[-1]:  # of other widths it makes L×L scores
        return _in_panels(call, key, value, rule, window, advance)
    advance(seen_scores(query.shape[1], length, length))
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=call.scale)


def _in_panels(
    call: Call,
    key: Tensor,
    value: Tensor,
    rule: Rule,
    window: int,
    advance: Callable[[float], None],
) -> Tensor:
    """Output (B, H, L, width of a value); key and value have as many heads as the call's query."""
    query, length = call.query, key.shape[2]
    keys = min(length, window + PANEL_ROWS)
    rows = max(1, min(PANEL_ROWS, SCORES // (query.shape[0] * query.shape[1] * keys)))
    mixed = query.new_empty(*query.shape[:3], value.shape[-1])
    for start in range(0, length, rows):
        end = min(start + rows, length)
        first = max(0, start - window + 1)
        scores = query[:, :, start:end] @ key[:, :, first:end].transpose(2, 3) * call.scale
        if call.softcap is not None:
            scores = call.softcap * torch.tanh(scores / call.softcap)
        at = torch.arange(first, end, device=query.device)
        seen = rule.visible(at[start - first :], at)
        seen = seen & (at[start - first :, None] - at < window)
        weights = _softmax(scores.float().masked_fill(~seen, -torch.inf), call.sinks)
        mixed[:, :, start:end] = weights.to(value.dtype) @ value[:, :, first:end]
        advance(seen_scores(query.shape[1], end - start, end, window))
    return mixed


def _by_operator(call: Call, value: Tensor, change: Change) -> Tensor:
    """Output (B, H, L, D), by the operator of this project."""
    check_plain(call)
    if change.familiar is not None and call.window != call.query.shape[2]:
        raise ContentError(
            f"rows of this model's attention see {call.window:,} keys at most; far keys are turned "
            "or scaled where rows see all keys"
        )
    asked: dict[str, Any] = {} if call.window == call.query.shape[2] else {"window": call.window}
    if change.familiar is not None:
        asked["familiar"] = change.familiar
    computed = Variant.parse("softmax").computes if change.computed is None else change.computed
    return grouped_attention(call.query_as_scored, call.key, value, computed, **asked)


def check_plain(call: Call) -> None:
    """Whether a call can be given to another attention.

    Raises:
        ContentError: its scores have a cap or a sink, or its mask is another.
    """
    if call.window is None or call.softcap is not None or call.sinks is not None:
        raise ContentError(
            "swap, rerope and what ablate undoes need scores without a cap or a sink and a causal "
            "mask, and this model's attention has others"
        )


def _softmax(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Of float32 scores (B, heads, rows, keys), a key without a value among them if given."""
    if sinks is None:
        return scores.softmax(dim=-1)
    sink = sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    return torch.cat([scores, sink], dim=-1).softmax(dim=-1)[..., :-1]
