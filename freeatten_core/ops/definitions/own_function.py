"""Attention of one's own: a Python function in the place of the four stages.

    def my_attention(query, key, value):  # (B, H, N, D) each, after the rotation
        ...
        return output                     # (B, H, N, D), causal

Its name as a variant is `my_file.py:my_attention`. A file is run only after `allow`, which the
commands call with what was named on the command line: a checkpoint that was trained with a function
holds no code and cannot ask for any.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.errors import ContentError, UsageError, out_of_memory, reason_of
from freeatten_core.basics.files import expanded
from freeatten_core.variants.stages import Computed, OwnFunctionName, Stages
from freeatten_core.variants.variant import Variant, nearest, split_modifiers

from . import neighbours

__all__ = [
    "WEIGHED",
    "OwnFunction",
    "allow",
    "allow_swap",
    "as_scores",
    "attend",
    "check_source",
    "described",
    "find",
    "named_in",
    "weighed_by",
]

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value) -> output, causal; all (B, H, N, D)."""

WEIGHED = Stages(positivity="relu", normalise="none")
"""The stages whose weights for what `as_scores` gives are those of a function."""

MOST_MAPPED = 4096
"""Tokens of a text whose weights are taken from a function: 200 MB a layer of three heads."""

TOLERANCE = 1e-3
"""Relative, between outputs that should be equal in float32."""


@dataclass(frozen=True)
class OwnFunction:
    """A function that may be called."""

    name: str
    """`my_file.py:my_attention`."""
    compute: Function
    source: str
    """Its file's text."""
    folder: Path
    """Where its file lies; it may import what lies beside it."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """The texts of the files that it imported from there, by their names."""

    @property
    def sha256(self) -> str:
        """Of all that it consists of; of its file alone where it imports nothing from beside it."""
        parts = [self.source, *(part for pair in self.beside.items() for part in pair)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


_allowed: dict[str, OwnFunction] = {}


def allow(variant: Variant) -> Variant:
    """Run the file of a variant's function, check the function, and let it be computed.

    Args:
        variant: any; its function, or that of what `swap` puts in, with the path of the file.

    Returns:
        The variant with the file's name alone, as checkpoints and results have it; one that has
        no function, as it is.

    Raises:
        UsageError: no such file or function, a file that fails, two files of one name, or a
            function that is not causal attention of every head by itself.
    """
    variant = allow_swap(variant)
    trained = variant.trained.computes
    if not isinstance(trained, OwnFunctionName):
        return variant
    file, function = trained.name.rsplit(":", 1)
    path = expanded(file)
    name = f"{path.name}:{function}"
    own = OwnFunction(name, *_loaded(path, function), folder=path.parent.resolve())
    _check(own)
    own = replace(own, beside=neighbours.sources(own.folder))
    before = _allowed.setdefault(name, own)
    if before.sha256 != own.sha256:
        raise UsageError(f"two files give {name}; rename one, so that results tell them apart")
    return Variant.of(OwnFunctionName(name), variant.modifiers)


def allow_swap(variant: Variant) -> Variant:
    """`allow` for what `swap` puts in alone; errors as there."""
    swap = variant.modifier("swap")
    if swap is None or swap.target is None:
        return variant
    target = replace(swap, target=allow(swap.target))
    return variant.with_modifiers(
        tuple(target if each is swap else each for each in variant.modifiers)
    )


def named_in(source: str) -> tuple[str, str, str] | None:
    """Of `model@file.py:function+yarn` its three parts; None where no function is named.

    Both paths can hold an @: of several, the one that gives an existing file, or else folder.
    """
    if expanded(source).is_dir():
        return None
    head, *modifiers = split_modifiers(source)
    if not re.search(r"\.py:[A-Za-z_]\w*$", head) or "@" not in head[1:]:
        return None
    places = [at for at, character in enumerate(head) if character == "@" and at]
    files = [at for at in places if _is_file(head[at + 1 :])]
    folders = [at for at in places if expanded(head[:at]).is_dir()]
    chosen = [*files, *folders, places[-1]][0]
    return head[:chosen], head[chosen + 1 :], "".join(f"+{each}" for each in modifiers)


def _is_file(function: str) -> bool:
    file = function.rsplit(":", 1)[0]
    return bool(file) and expanded(file).is_file()


def find(function: OwnFunctionName) -> OwnFunction:
    """The function of a name.

    Raises:
        UsageError: it was not allowed.
    """
    found = _allowed.get(function.name)
    if found is None:
        raise UsageError(
            f"{function} is Python code, which runs only when the command names its file: "
            f"add @{function} behind the checkpoint, or pass it to freeatten train"
        )
    return found


def described(variant: Variant) -> dict[str, Any]:
    """What a checkpoint keeps of its function, to be read and not run; empty without one."""
    if not isinstance(variant.computes, OwnFunctionName):
        return {}
    own = find(variant.computes)
    beside = {"beside": dict(own.beside)} if own.beside else {}
    return {"function": {"name": own.name, "sha256": own.sha256, "source": own.source, **beside}}


def check_source(name: str, function: OwnFunctionName, sha256: object) -> None:
    """Whether the function of a checkpoint may run and is the one it was trained with.

    Args:
        name: the checkpoint's.
        sha256: what its config says of the function's file.

    Raises:
        UsageError: it was not named.
        ContentError: its file is another now.
    """
    if function.name not in _allowed:
        raise UsageError(
            f"checkpoint {name} computes {function}, Python code that runs only when you name its "
            f"file: write --checkpoint {name}@{function}, with the path of the file"
        )
    if find(function).sha256 != sha256:
        raise ContentError(
            f"checkpoint {name} was trained with another {function} (SHA-256 {str(sha256)[:12]}…, "
            f"the file here {find(function).sha256[:12]}…); give that file, or train again"
        )


def weighed_by(computed: Computed) -> Stages:
    """What the kernels compute weights with: the stages, or `WEIGHED` for `as_scores` of a
    function."""
    return computed if isinstance(computed, Stages) else WEIGHED


def attend(query: Tensor, key: Tensor, value: Tensor, function: OwnFunctionName) -> Tensor:
    """The function's output, (B, H, N, Dv), in the type of `value`.

    Without gradients a head at a time, because its matrices are as large as N².

    Args:
        query: (B, H, N, D).
        key, value: (B, Hkv, N, D) and (B, Hkv, N, Dv); H / Hkv consecutive heads share one.

    Raises:
        UsageError: it was not allowed, takes no such call, or gives something else.
    """
    own = find(function)
    if query.shape[2] != key.shape[2]:
        raise UsageError(
            f"{own.name} takes a key for every query; got {query.shape[2]:,} queries and "
            f"{key.shape[2]:,} keys"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if torch.is_grad_enabled():
        return _called(own, query, key, value)
    heads = zip(*(torch.split(x, 1, dim=1) for x in (query, key, value)), strict=True)
    return torch.cat([_called(own, *head) for head in heads], dim=1)


@torch.no_grad()
def as_scores(query: Tensor, key: Tensor, function: OwnFunctionName) -> tuple[Tensor, Tensor]:
    """Query (B, H, N, N) and key (B, Hkv, N, N) whose weights under `WEIGHED` are the function's.

    An output that is a weighted sum of values gives its weights when the values are the columns
    of the identity; these become the queries, against keys that are the identity (for all heads
    the same memory).

    Raises:
        UsageError: a text above MOST_MAPPED tokens, an output that is no weighted sum of the
            values, or weights below 0 or not finite.
    """
    own = find(function)
    batch, heads, length, dim = query.shape
    if length > MOST_MAPPED:
        raise UsageError(
            f"the text has {length:,} tokens; weights of one's own function are shown up to "
            f"{MOST_MAPPED:,}, because all {length:,}² of them are kept"
        )
    identity = torch.eye(length, device=query.device, dtype=query.dtype)
    each = identity.expand(batch, key.shape[1], length, length)
    weights = attend(query, key, each, function)
    bad = (~weights.isfinite()).any(dim=-1).nonzero()
    if len(bad):
        raise UsageError(
            f"{own.name} gives weights that are not finite in a text of {length:,} tokens, the "
            f"first in row {int(bad[:, -1].min()):,}"
        )
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(batch, key.shape[1], length, dim, generator=draw).to(query)
    groups = heads // key.shape[1]
    summed = weights @ value.repeat_interleave(groups, dim=1)
    if not _equal(summed, attend(query, key, value, function)):
        raise UsageError(
            f"the output of {own.name} is not a weighted sum of the values, so there are no "
            "weights to show; freeatten compare measures it"
        )
    lowest = float(weights.min())
    if lowest < -TOLERANCE * float(weights.max()):
        raise UsageError(
            f"{own.name} gives weights below 0, down to {lowest:.3g}; maps and row statistics are "
            "of weights from 0 up"
        )
    return weights * length**0.5, each  # WEIGHED divides by the root of the head size


def _loaded(path: Path, function: str) -> tuple[Function, str]:
    """The function of a file, and the file's text."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}, the file of {function}: {reason_of(error)}"
        ) from error
    spec = importlib.util.spec_from_file_location(f"freeatten_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    importlib.invalidate_caches()  # a neighbour may have been written just now
    try:
        with neighbours.importable(path.parent.resolve()):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever another's file raises
        raise UsageError(f"{path} does not run: {_told(error, path.parent)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"{path} has no function {function}{_like(function, module)}")
    return found, source


def _like(function: str, module: ModuleType) -> str:
    """What a name that a file lacks may have meant: one of the functions written there."""
    written = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    return nearest(function, written) if written else ""


def _told(error: BaseException, folder: Path) -> str:
    """An error of another's code, with the place in that code where it arose."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):  # says where itself
        return said
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.suffix == ".py" and path.resolve().parent == folder.resolve():
            return f"{said} ({path.name}, line {frame.lineno})"
    return said


def _called(own: OwnFunction, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    wanted = (*query.shape[:3], value.shape[-1])
    try:
        with neighbours.importable(own.folder):
            output = own.compute(query, key, value)
    except Exception as error:  # the function is the user's and can raise any type
        if out_of_memory(error):
            raise
        raise UsageError(
            f"{own.name} failed on query {tuple(query.shape)} and value {tuple(value.shape)}: "
            f"{_told(error, own.folder)}"
        ) from error
    if not isinstance(output, Tensor) or tuple(output.shape) != wanted:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"{own.name} returned {given}; it must be a tensor of shape {wanted}")
    return output.to(value.dtype)


def _check(own: OwnFunction) -> None:
    """Whether a function is what every measurement takes it for, on a small random call."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 2, 24, 16, generator=draw) for _ in range(3))
    value.requires_grad_()
    with torch.enable_grad():
        output = _called(own, query, key, value)
    if not bool(output.isfinite().all()):
        raise UsageError(f"{own.name} returns numbers that are not finite for ordinary input")
    if not output.requires_grad:
        raise UsageError(f"{own.name} has no gradient, so nothing can be trained with it")
    if not _equal(output, _called(own, query, key, value)):
        raise UsageError(f"{own.name} returns something else when it is called again")
    other = torch.where(torch.arange(24)[:, None] < 12, 0.0, 3.0)
    later = _called(own, query + other, key + other, value + other)
    if not _equal(output[:, :, :12], later[:, :, :12]):
        raise UsageError(
            f"{own.name} is not causal: rows change with later tokens; a row may see keys up to "
            "its own alone"
        )
    alone = _called(own, query[:1, 1:], key[:1, 1:], value[:1, 1:])
    if not _equal(output[:1, 1:], alone):
        raise UsageError(
            f"{own.name} mixes heads or texts; what a head returns must depend on its own query, "
            "key and value alone"
        )


def _equal(first: Tensor, second: Tensor) -> bool:
    """In float32, up to rounding."""
    first, second = first.detach().float(), second.detach().float()
    scale = max(float(first.abs().max()), float(second.abs().max()), 1e-6)
    return float((first - second).abs().max()) <= TOLERANCE * scale
