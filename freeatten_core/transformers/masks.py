"""Which keys rows see, as the transformers library asks for it: the rule and never an L×L mask.

Rows see all keys up to their own, or the last so many of these. Whatever else a mask says is
refused, because the attention would not do it: padding on the left, packed texts, chunks, prefixes
that see themselves, caches with room for tokens that are not there yet. Padding on the right is
seen by nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError

__all__ = ["Seen", "seen_keys"]

PANEL_ROWS = 512
"""Rows whose rule is evaluated at a time."""
REMEMBERED = 64
"""Rules whose window is remembered: a few for each shape of a training."""


@dataclass
class Seen:
    """What every row sees, in the place of a mask."""

    rows: int
    keys: int
    window: int | None
    """Keys that a row sees at most, its own included; None for all up to its own."""
    padded: bool
    _checked: bool = field(default=False, init=False)

    OWN_ATTENTION: ClassVar[str] = (
        "the model computes its attention itself and not by attn_implementation, so no freeatten: "
        "attention can be put into it"
    )

    def check(self, rows: int, keys: int, position_ids: Tensor | None) -> None:
        """Refuse a layer whose rows are others than these.

        Args:
            rows, keys: of the layer's call.
            position_ids: (B, rows), if the layer has them.
        """
        if (rows, keys) != (self.rows, self.keys):
            raise UsageError(
                f"{rows} rows and {keys} keys meet a mask of {self.rows} and {self.keys}; "
                "freeatten: attentions take caches that grow with the text, such as DynamicCache"
            )
        if self._checked or self.padded or position_ids is None or position_ids.ndim != 2:
            return
        _check_positions(position_ids)
        self._checked = True

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(self.OWN_ATTENTION)

    __getitem__ = __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: {self.OWN_ATTENTION}")

    @classmethod
    def __torch_function__(cls, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(cls.OWN_ATTENTION)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # no types in PyTorch
def _check_positions(position_ids: Tensor) -> None:
    if not bool((position_ids.diff(dim=-1) == 1).all()):
        raise UsageError(
            "position_ids start again within a row: several texts are packed into it, which "
            "freeatten: attentions would read as one; give one text a row"
        )


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it looks at values
def seen_keys(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor] | None = None,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **_: Any,
) -> Seen:
    """What the library's mask for an attention is here; called by it, by name.

    Args:
        batch_size, q_length, kv_length, q_offset, kv_offset: rows are the positions
            q_offset … q_offset + q_length − 1, keys the same of kv_offset.
        mask_function: (batch, head, row, key) -> whether it is seen.
        attention_mask: (B, tokens), 0 where there is padding.
        device: where positions are made.

    Raises:
        UsageError: a rule or a padding that this attention does not know.
    """
    if isinstance(q_offset, Tensor) or q_offset + q_length != kv_offset + kv_length:
        raise UsageError(
            "freeatten: attentions take caches that grow with the text, such as DynamicCache, and "
            "neither static ones nor prefixes that are no tokens"
        )
    if mask_function is None:
        raise UsageError("freeatten: attentions need the rule of the mask, and there is none")
    spans = (q_offset, q_length), (kv_offset, kv_length)
    key = _key(mask_function)
    if key is None:
        window = _window(mask_function, batch_size, *spans, torch.device(device))
    else:
        window = _remembered(_Rule(key, mask_function), batch_size, *spans, torch.device(device))
    return Seen(q_length, kv_length, window, _is_padded(attention_mask))


def _is_padded(attention_mask: Tensor | None) -> bool:
    """Whether there is padding, which may be on the right alone."""
    if attention_mask is None:
        return False
    if attention_mask.ndim != 2:
        raise UsageError(
            f"attention_mask has {attention_mask.ndim} dimensions; freeatten: attentions take "
            "(texts, tokens), 1 for tokens and 0 for padding behind them"
        )
    real = attention_mask.bool()
    if bool((real[:, 1:] & ~real[:, :-1]).any()):
        raise UsageError(
            "attention_mask has padding before tokens, which freeatten: attentions would read as "
            "text; pad on the right (tokenizer.padding_side = 'right'), and generate from one "
            "text, or texts of one length, at a time"
        )
    return not bool(real.all())


def _window(
    rule: Callable[..., Tensor],
    batch_size: int,
    rows: tuple[int, int],
    keys: tuple[int, int],
    device: torch.device,
) -> int | None:
    """The window of a rule, None if there is none; spans are (offset, length).

    Raises:
        UsageError: the rule is no other causal one.
    """
    batch = torch.arange(batch_size, device=device)[:, None, None, None]
    head = torch.zeros((1, 1, 1, 1), dtype=torch.long, device=device)
    at = torch.arange(keys[0], sum(keys), device=device)

    def visible(some: Tensor) -> Tensor:
        found = rule(batch, head, some[:, None], at[None, :])
        return torch.as_tensor(found, device=device).expand(batch_size, 1, len(some), len(at))

    own = torch.arange(rows[0], sum(rows), device=device)
    window = int(visible(own[-1:])[0].sum())
    for some in torch.split(own, PANEL_ROWS):
        distance = some[:, None] - at[None, :]
        causal = (distance >= 0) & (distance < window)
        if not bool((visible(some) == causal).all()):
            raise UsageError(
                "freeatten: attentions take causal rows, whole or with one window, and this mask "
                "is another: packed texts, chunks, or tokens that see later ones"
            )
    return None if window == sum(rows) else window


@dataclass(frozen=True)
class _Rule:
    """A rule that is equal to others of the same code over the same values."""

    key: Hashable
    function: Callable[..., Tensor] = field(compare=False)


@lru_cache(REMEMBERED)
def _remembered(
    rule: _Rule,
    batch_size: int,
    rows: tuple[int, int],
    keys: tuple[int, int],
    device: torch.device,
) -> int | None:
    return _window(rule.function, batch_size, rows, keys, device)


def _key(value: Any) -> Hashable | None:
    """What is equal for functions of the same code over the same numbers and functions.

    None for whatever holds something else, such as tensors: what that says may differ.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, FunctionType):
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
        by_name = tuple((value.__kwdefaults__ or {}).items())
        key = _key((cells, value.__defaults__ or (), by_name))
        return None if key is None else (value.__code__, key)
    if isinstance(value, tuple):
        keys = tuple(_key(each) for each in value)
        return None if None in keys else keys
    return None
